import { configText, runFolder, type Template, type TemplateNames } from './template';

/** One turn, a reward, a metric, and rows that are generated. */
export function environmentTemplate(names: TemplateNames): Template {
  const { name, className, imported, ts } = names;
  const data = `${runFolder(name)}/data`;
  return {
    source: `import { ${ts('type AnyRow, ')}Environment, ${ts('type EnvironmentStep, ')}registerEnvironment } from 'vantage-rl';

/**
 * The smallest of four digits: 1 for the right one, 0 for all else.
 * A place to begin: write your rewards in step, and your prompts in rows. One object is made for each answer, so its fields are that answer's.
 */
export class ${className} extends Environment {
  ${ts('private ')}isDigit = false;

  /** action is the text of the policy's answer; this.row the row of the data. It may be async. */
  step(action${ts(': string')})${ts(': EnvironmentStep')} {
    const { ground_truth: truth } = this.row.reward_spec${ts(' as { ground_truth: string }')};
    this.isDigit = /^[0-9]$/.test(action);

    // For another turn (generator.max_turns): done: false, and in observations messages that the policy reads next.
    return { observations: [], reward: action === truth ? 1 : 0, done: true };
  }

  /** Logged as environment/…, averaged over the batch. */
  ${ts('override ')}metrics() {
    return { digits: Number(this.isDigit) };
  }
}

// Its name for configurations, rows and commands.
registerEnvironment('${name}', ${className});

/** Rows number from to number to − 1 of 10,000 different prompts: what is trained on and what is evaluated should not overlap. */
export function rows(from${ts(': number')}, to${ts(': number')})${ts(': AnyRow[]')} {
  return Array.from({ length: to - from }, (_, i) => {
    const digits = [...String(((from + i) * 7919) % 10_000).padStart(4, '0')]; // 7919 has no divisor in common with 10,000: no prompt comes twice
    return {
      data_source: '${name}',
      prompt: [{ role: 'user', content: digits.join(' ') + ' =' }],
      env_class: '${name}',
      reward_spec: { method: 'rule', ground_truth: digits.reduce((a, b) => (a < b ? a : b)) }, // seen by the environment alone
    };
  });
}
`,
    test: `import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { listEnvironments, WordTokenizer } from 'vantage-rl';
import { ${className}, rows } from './${name}.${imported}';

/** A row by hand: an environment needs no run. */
const row = { prompt: [{ role: 'user', content: '3 9 1 4 =' }], reward_spec: { ground_truth: '1' } };

test('the right digit is worth 1, all else 0', () => {
  for (const [action, reward, digits] of [['1', 1, 1], ['9', 0, 1], ['1 1', 0, 0], ['', 0, 0]]${ts(' as const')}) {
    const environment = new ${className}(row);
    assert.deepEqual(environment.step(action), { observations: [], reward, done: true });
    assert.deepEqual(environment.metrics(), { digits });
  }
});

test('it is registered', () => {
  assert.ok(listEnvironments().includes('${name}'));
});

test('rows name the environment, ask different things, and the tokenizer of config.yaml knows their words', () => {
  const all = rows(0, 2304);
  const asked = all.map(({ prompt }) => (prompt${ts(' as { content: string }[]')})[0]${ts('!')}.content);
  assert.equal(new Set(asked).size, all.length);
  assert.ok(all.every(({ env_class }) => env_class === '${name}'));
  asked.forEach((text, i) => {
    const ids = new WordTokenizer().encode(text);
    assert.equal(ids.length, 5);
    const { ground_truth: truth } = all[i]${ts('!')}.reward_spec${ts(' as { ground_truth: string }')};
    assert.equal(Number(truth), Math.min(...text.slice(0, -2).split(' ').map(Number)));
  });
});
`,
    train: `// Run it in this folder. Keys of config.yaml may follow: trainer.max_training_steps=20
import { main, writeJsonl } from 'vantage-rl';
import { rows } from './${name}.${imported}'; // registers the environment, before main checks the configuration, which names it

writeJsonl('${data}/train.jsonl', rows(0, 2048));
writeJsonl('${data}/validation.jsonl', rows(2048, 2304));

void main(process.argv.slice(2), { config: 'config.yaml' });
`,
    config: configText(name, {
      title: `The environment ${name}: the smallest of four digits`,
      environment: `${JSON.stringify(name)} # of rows that name none`,
      answerLength: '1 # the digit',
      algorithm: ['advantage_estimator: grpo'],
    }),
  };
}
