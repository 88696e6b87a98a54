/** Whatever users import has a doc comment, and so has each member of its classes and interfaces. `npm run docs:api` checks more (links, inherited members), and takes longer. */
import { join, relative } from 'node:path';
import ts from 'typescript';
import { root } from './markdown';

const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config, ts.sys, root);
const index = join(root, 'src/index.ts');
/** A module of which some has no comment, to see that it is found. */
const bare = join(root, 'src/bare.ts');
const bareText = `/** A. */
export class Base {
  /** B. */
  said = 1;
  bare = 2;
  private hidden = 3;
  static plain = this.prototype.hidden;
}
export class Heir extends Base {
  override said = 2;
}
/** C. */
export interface Shape {
  size: number;
}
export const naked = 1;
`;
const host = ts.createCompilerHost(options);
const { getSourceFile, fileExists } = host;
host.fileExists = (name) => name === bare || fileExists(name);
host.getSourceFile = (name, ...rest) => (name === bare ? ts.createSourceFile(name, bareText, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest));
const program = ts.createProgram([index, bare], options, host);
const checker = program.getTypeChecker();
const exportsOf = (file: string) => checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)!)!);

const isDocumented = (symbol: ts.Symbol): boolean => symbol.getDocumentationComment(checker).length > 0 || symbol.getJsDocTags(checker).length > 0;

/** What a user of a class sees, or who writes a subclass. Members that a base class documents count as documented. */
function members(symbol: ts.Symbol): ts.Symbol[] {
  const tables = symbol.flags & ts.SymbolFlags.Class ? [symbol.members, symbol.exports] : symbol.flags & ts.SymbolFlags.Interface ? [symbol.members] : [];
  return tables.flatMap((table) => [...(table?.values() ?? [])]).filter((member) => {
    const [declaration] = member.declarations ?? [];
    if (declaration === undefined || ts.isTypeParameterDeclaration(declaration) || !(ts.isClassElement(declaration) || ts.isTypeElement(declaration) || ts.isParameter(declaration))) return false;
    const isHidden = (ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Private) !== 0;
    return !isHidden && !ts.isConstructorDeclaration(declaration) && !ts.isConstructSignatureDeclaration(declaration) && !/^__(?!@dispose)/.test(member.name);
  });
}

/** Names, with their files, of what has no comment. */
function undocumented(exported: readonly ts.Symbol[]): string[] {
  return exported.flatMap((each) => {
    const symbol = each.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(each) : each;
    const place = relative(root, symbol.declarations![0]!.getSourceFile().fileName);
    const missing = members(symbol).filter((member) => !isDocumented(member) && !inherits(symbol, member.name));
    return [...(isDocumented(symbol) ? [] : [`${place}: ${symbol.name}`]), ...missing.map(({ name }) => `${place}: ${symbol.name}.${name}`)];
  });
}

/** Whether a class that the symbol extends, or an interface, documents a member: static ones included, which TypeScript's own look-up passes over. */
function inherits(symbol: ts.Symbol, name: string): boolean {
  const heritage = (symbol.declarations ?? []).flatMap((each) => ('heritageClauses' in each ? ((each as ts.ClassDeclaration).heritageClauses ?? []) : []));
  return heritage.flatMap(({ types }) => [...types]).some(({ expression }) => {
    const found = checker.getSymbolAtLocation(expression);
    const base = found && found.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(found) : found;
    if (base === undefined) return false;
    const member = base.members?.get(name as ts.__String) ?? base.exports?.get(name as ts.__String);
    return (member !== undefined && isDocumented(member)) || inherits(base, name);
  });
}

test('every export and every member of one has a doc comment', () => {
  const exported = exportsOf(index);
  expect(exported.length).toBeGreaterThan(400);
  expect(undocumented(exported)).toEqual([]);
}, 60_000);

test('what has none is found', () => {
  expect(undocumented(exportsOf(bare))).toEqual(['Base.bare', 'Base.plain', 'Heir', 'Shape.size', 'naked'].map((name) => `src/bare.ts: ${name}`));
});
