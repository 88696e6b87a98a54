import { type Command, parseCommandLine, print, unknownWord, UsageError } from './command';
import { loadHelp, loadModules, loadOption } from './load';

const kinds = ['estimators', 'losses', 'environments', 'tokenizers'] as const;
type Kind = (typeof kinds)[number];

export const list: Command = {
  summary: 'Shows the names that a configuration can use',
  help: `Usage:
  vantage list [${kinds.join('|')}] [--load FILE …]
      The registered advantage estimators, policy losses, environments and tokenizers; of one kind: a name a line.
      Further names of the same follow in parentheses: dual_clip (vanilla).

Options:
${loadHelp}`,

  async run(argv) {
    const { values, positionals } = parseCommandLine({ args: argv, options: loadOption, allowPositionals: true });
    const [kind] = positionals;
    if (kind !== undefined && !isKind(kind)) throw new UsageError(unknownWord('kind', kind, kinds));
    await loadModules(values.load);
    // Only this command needs everything that registers names.
    const vantage = require('../index') as typeof import('../index');
    const { withAliases } = require('../registry') as typeof import('../registry');
    const { aliasesOfEstimator } = require('../advantages/registry') as typeof import('../advantages/registry');
    const { policyLosses } = require('../losses/policy_loss') as typeof import('../losses/policy_loss');
    const names: Record<Kind, string[]> = {
      estimators: vantage.listAdvantageEstimators().map((name) => withAliases(name, aliasesOfEstimator(name))),
      losses: vantage.listPolicyLosses().map((name) => withAliases(name, policyLosses.aliasesOf(name))),
      environments: vantage.listEnvironments(),
      tokenizers: vantage.listTokenizers(),
    };
    if (kind === undefined) { for (const each of kinds) print(`${each.padEnd(14)}${names[each].join(', ')}`); }
    else for (const name of names[kind]) print(name);
  },
};

function isKind(name: string): name is Kind {
  return kinds.some((kind) => kind === name);
}
