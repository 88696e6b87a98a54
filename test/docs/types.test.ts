/** The TypeScript blocks of the documentation have no type errors: what runs may still not compile for a user. */
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';
import { blocks, files, read, root, story } from './markdown';

test('every block compiles', () => {
  const code = new Map<string, string>();
  for (const file of files) {
    // The files of a story are there nowhere else; those that import each other cannot be found.
    const scripts = blocks(read(file), 'ts').filter(({ named, code: text }) => named === undefined || (file === story && !text.includes("from './")));
    // Lines are those of the Markdown file; a module of its own, for `await` and names that other blocks use too.
    for (const { code: text, line } of scripts) code.set(join(dirname(file), `${relative(dirname(file), file)}.${line}.mts`), `${'\n'.repeat(line - 1)}${text}export {};\n`);
  }
  const config = join(root, 'test/tsconfig.json');
  const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(config, ts.sys.readFile).config, ts.sys, dirname(config));
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (name) => code.has(name) || fileExists(name);
  host.getSourceFile = (name, ...rest) => {
    const text = code.get(name);
    return text === undefined ? getSourceFile(name, ...rest) : ts.createSourceFile(name, text, ts.ScriptTarget.ES2022);
  };
  const program = ts.createProgram([...code.keys()], { ...options, noUnusedLocals: false }, host);
  const problems = program.getSourceFiles().filter(({ fileName }) => code.has(fileName)).flatMap((source) => program.getSemanticDiagnostics(source).concat(program.getSyntacticDiagnostics(source)));
  expect(code.size).toBeGreaterThan(10);
  expect(problems.map(({ file, start, messageText }) => {
    const { line } = ts.getLineAndCharacterOfPosition(file!, start!);
    return `${relative(root, file!.fileName).replace(/\.\d+\.mts$/, '')}:${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  })).toEqual([]);
}, 120_000);
