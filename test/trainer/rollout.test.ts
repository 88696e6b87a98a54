/** Trajectories of several turns, made by a real transformer and by environments whose answers are known. */
import { setTimeout as sleep } from 'node:timers/promises';
import { loadConfig, type SamplingConfig } from '../../src/config';
import { type ChatMessage, type PromptExample, WordTokenizer } from '../../src/data';
import { Environment, type EnvironmentClass, type EnvironmentStep } from '../../src/environments';
import { EnvironmentError } from '../../src/errors';
import { Transformer } from '../../src/models';
import { padPrompts } from '../../src/models';
import { randomKey, tensor } from '../../src/tensor';
import { Rollout, type RolloutParts, type Trajectory } from '../../src/trainer';

const tokenizer = new WordTokenizer();
const { eosId } = tokenizer;
const policy = Transformer.initialize(
  {
    ...{ vocabSize: tokenizer.vocabSize, hiddenSize: 32, numLayers: 1, numHeads: 2, numKvHeads: 1, intermediateSize: 64 },
    ...{ ropeTheta: 1e4, rmsNormEps: 1e-6, tieWordEmbeddings: true, attentionBias: true, maxPositionEmbeddings: 256 },
  },
  randomKey(3),
  { std: 0.3 },
);
afterAll(() => policy.dispose());

const examples: PromptExample[] = ['3 9 =', '1 2 3 4 =', '='].map((content, i) => {
  const prompt = [{ role: 'user', content }];
  return { id: `prompt ${i}`, prompt, promptIds: tokenizer.encodeChat(prompt), dataSource: 'test', envClass: 'known', row: { prompt, number: i } };
});

const sampling: SamplingConfig = { ...loadConfig().config.generator.sampling_params, max_generate_length: 4 };

async function collect(Class: EnvironmentClass, parts: Partial<RolloutParts> = {}, options: { samples?: number; seed?: number; stop?: string[] } = {}): Promise<Trajectory[]> {
  const rollout = new Rollout({ policy, tokenizer, environment: () => Class, maxPromptLength: 8, maxInputLength: 64, maxTurns: 3, ...parts });
  const { samples = 4, seed = 5, stop = null } = options;
  return rollout.collect(examples, { samples, sampling: { ...sampling, stop }, key: randomKey(seed) });
}

/** Answers the n-th action with `n n =` and the reward n, and is done with the action that comes after `turns` others. */
class Known extends Environment {
  static turns = 9;
  private count = 0;

  step(_action: string): EnvironmentStep {
    this.count++;
    const content = `${this.count} ${this.count} =`;
    return { observations: [{ role: 'user', content }], reward: this.count, done: this.count > Known.turns };
  }

  override metrics() {
    return { count: this.count };
  }
}

/** What stands behind turn n: an end token where the answer has none, and the observation. */
function observation(answer: readonly number[], n: number): number[] {
  return [...(answer.at(-1) === eosId ? [] : [eosId]), n, n, tokenizer.encode('=')[0]!];
}

describe('several turns', () => {
  it('put the observations between the answers, and stop at max_turns', async () => {
    const trajectories = await collect(Known);
    expect(trajectories.map(({ groupId }) => groupId)).toEqual(examples.flatMap(({ id }) => [id, id, id, id]));
    const unfinished = new Set<boolean>();
    for (const { responseIds, turns, rolloutLogProbs, reward, metrics, text } of trajectories) {
      const answers = turns!.map(({ start, end }) => responseIds.slice(start, end));
      const expected = answers.flatMap((answer, i) => (i === 2 ? answer : [...answer, ...observation(answer, i + 1)]));
      expect(responseIds).toEqual(expected);
      expect(text).toBe(tokenizer.decode(expected));
      expect(turns!.map((turn) => turn.reward)).toEqual([1, 2, 3]);
      expect([reward, metrics]).toEqual([6, { count: 3 }]);
      expect(rolloutLogProbs).toHaveLength(responseIds.length);
      for (const answer of answers) {
        expect(answer.length).toBeLessThanOrEqual(4);
        unfinished.add(answer.at(-1) !== eosId);
      }
    }
    // Both kinds came: answers that ended, and some that were cut off.
    expect(unfinished.size).toBe(2);
  });

  it('are as likely as the model says, observations being in the context and no actions', async () => {
    for (const { promptIds, responseIds, rolloutLogProbs, turns } of await collect(Known)) {
      const padded = padPrompts([promptIds], tokenizer.padId, 8);
      const ids = tensor([...padded.ids, ...responseIds], { shape: [1, 8 + responseIds.length], dtype: 'int32' });
      const expected = policy.logProbs(ids, tensor(padded.start), { from: 8 }).logProbs.dataSync();
      const isAction = responseIds.map((_, i) => turns!.some(({ start, end }) => i >= start && i < end));
      rolloutLogProbs.forEach((logProb, i) => {
        if (isAction[i]) expect(Math.abs(logProb - expected[i]!)).toBeLessThan(1e-5);
        else expect(logProb).toBe(0);
      });
    }
  });

  it('are the same for a key, however long environments take and however many run at once', async () => {
    class Slow extends Known {
      override async init(prompt: ChatMessage[]) {
        await sleep(Math.random() * 5);
        return prompt;
      }
      // @ts-expect-error a step may be asynchronous
      override async step(action: string) {
        await sleep(Math.random() * 10);
        return super.step(action);
      }
    }
    const first = await collect(Known);
    for (const maxConcurrentEnvironments of [1, 3, -1]) expect(await collect(Slow as unknown as EnvironmentClass, { maxConcurrentEnvironments })).toEqual(first);
    expect(await collect(Known, {}, { seed: 6 })).not.toEqual(first);
    // One turn draws what the first of several does, and later turns draw anew.
    const single = await collect(Known, { maxTurns: 1 });
    single.forEach(({ responseIds }, i) => expect(responseIds).toEqual(first[i]!.responseIds.slice(0, responseIds.length)));
  });

  it('end where the environment is done, one trajectory sooner than another', async () => {
    class Uneven extends Environment {
      private count = 0;
      step(): EnvironmentStep {
        this.count++;
        return { observations: [{ role: 'user', content: '7' }], reward: 1, done: this.count > (this.row.number as number) };
      }
    }
    const trajectories = await collect(Uneven);
    expect(trajectories.map(({ turns }) => turns!.length)).toEqual([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    for (const { responseIds, turns } of trajectories) expect(responseIds).toHaveLength(turns!.at(-1)!.end);
  });

  it('end where the conversation is longer than max_input_length', async () => {
    const trajectories = await collect(Known, { maxInputLength: 14, maxTurns: 5 });
    const reasons = new Set<string>();
    for (const { promptIds, responseIds, turns, stopReason } of trajectories) {
      // What the last answer was given to.
      expect(promptIds.length + turns!.at(-1)!.start).toBeLessThanOrEqual(14);
      expect(promptIds.length + responseIds.length).toBeLessThanOrEqual(14 + 4);
      if (turns!.length < 5) expect(stopReason).toBe('length');
      reasons.add(`${turns!.length}`);
    }
    expect(reasons.size).toBeGreaterThan(1);
  });

  it('tell environments how many there are', async () => {
    const seen = new Set<number | undefined>();
    class Asking extends Known {
      override step(action: string) {
        seen.add(this.settings?.maxTurns);
        return super.step(action);
      }
    }
    await collect(Asking, { maxTurns: 2 });
    expect([...seen]).toEqual([2]);
  });
});

describe('an environment that fails', () => {
  const opened: Failing[] = [];
  /** Prompt 1 fails with its second action. */
  class Failing extends Known {
    closed = 0;
    private actions = 0;
    constructor(...args: ConstructorParameters<typeof Known>) {
      super(...args);
      opened.push(this);
    }
    protected fail(): never | Promise<never> {
      throw new Error('the tool is broken');
    }
    override step(action: string): EnvironmentStep {
      if (++this.actions === 2 && this.row.number === 1) return this.fail() as never;
      return super.step(action);
    }
    override close() {
      this.closed++;
    }
  }
  beforeEach(() => (opened.length = 0));

  it('ends its trajectory, which keeps its tokens and rewards, and no other one', async () => {
    const [sound, trajectories] = [await collect(Known), await collect(Failing)];
    trajectories.forEach((trajectory, i) => {
      if (i < 4) expect({ ...trajectory, turns: trajectory.turns!.slice(0, 2) }).toMatchObject({ stopReason: expect.stringMatching(/stop|length/), reward: 6 });
      if (i < 4 || i >= 8) return;
      expect(trajectory).toMatchObject({ stopReason: 'error', error: expect.stringMatching(/^the tool is broken, at .*rollout\.test\.ts:\d+:\d+/), reward: 1, metrics: { count: 1 } });
      expect(trajectory.turns!.map(({ reward }) => reward)).toEqual([1, 0]);
      expect(trajectory.responseIds).toEqual(sound[i]!.responseIds.slice(0, trajectory.responseIds.length));
    });
    expect(opened.map(({ closed }) => closed)).toEqual(new Array(12).fill(1));
  });

  it('or takes too long, the same', async () => {
    class Hanging extends Failing {
      protected override fail() {
        return new Promise<never>(() => {});
      }
    }
    const trajectories = await collect(Hanging, { environmentTimeout: 0.5 });
    expect(trajectories.map(({ stopReason }) => stopReason === 'timeout')).toEqual([4, 4, 4].flatMap((n, prompt) => new Array<boolean>(n).fill(prompt === 1)));
    expect(trajectories[4]).toMatchObject({ error: 'no answer within 0.5 s', reward: 1 });
    expect(opened.map(({ closed }) => closed)).toEqual(new Array(12).fill(1));
  });

  it('before the first answer leaves a trajectory without tokens', async () => {
    class Unready extends Failing {
      override init(prompt: ChatMessage[]) {
        if (this.row.number === 0) throw new Error('no world');
        return prompt;
      }
      override step(action: string) {
        return Known.prototype.step.call(this, action);
      }
    }
    const trajectories = await collect(Unready);
    expect(trajectories[3]).toMatchObject({ responseIds: [], turns: [], text: '', stopReason: 'error', error: expect.stringMatching(/^no world, at .*rollout\.test\.ts:/), reward: 0 });
    expect(trajectories[4]).toMatchObject({ reward: 6 });
    expect(opened.map(({ closed }) => closed)).toEqual(new Array(12).fill(1));
  });

  it('when it is closed or measured changes nothing but the record of the error', async () => {
    class Unclosed extends Known {
      override close() {
        throw new Error('still busy');
      }
    }
    class Unmeasured extends Known {
      override metrics(): never {
        throw new Error('lost count');
      }
    }
    const sound = await collect(Known);
    expect(await collect(Unclosed)).toEqual(sound.map((trajectory) => ({ ...trajectory, error: expect.stringMatching(/^still busy, at Unclosed\.close /) })));
    expect(await collect(Unmeasured)).toEqual(sound.map((trajectory) => ({ ...trajectory, error: expect.stringMatching(/^lost count, at Unmeasured\.metrics /), metrics: {} })));
  });

  it('everywhere ends the run, and so does one that returns what it must not', async () => {
    class Broken extends Known {
      override step(): never {
        throw new TypeError('x is not a function');
      }
    }
    await expect(collect(Broken)).rejects.toThrow(EnvironmentError);
    await expect(collect(Broken)).rejects.toThrow("environment 'known': not one of 12 trajectories worked; the first: x is not a function, at Broken.step (");
    class Wrong extends Failing {
      protected override fail() {
        return { observations: [{ role: 'user' }], reward: 1, done: false } as never;
      }
    }
    await expect(collect(Wrong)).rejects.toThrow(
      `environment 'known': step: expected a list of messages as observations, each { role, content }, got {"role":"user"}`,
    );
    expect(opened.map(({ closed }) => closed)).toEqual(new Array(12).fill(1));
    class Foreign extends Failing {
      protected override fail() {
        return { observations: [{ role: 'user', content: 'ten' }], reward: 1, done: false } as never;
      }
    }
    await expect(collect(Foreign)).rejects.toThrow("environment 'known': step: observations: word tokenizer: expected words of its vocabulary");
    class Silent extends Known {
      override init() {
        return undefined as never;
      }
    }
    await expect(collect(Silent)).rejects.toThrow("environment 'known': init: expected a list of messages, got undefined");
    class Uncounted extends Known {
      override metrics() {
        return { count: '3' } as never;
      }
    }
    await expect(collect(Uncounted)).rejects.toThrow(`environment 'known': metrics: expected a number as count, got "3"`);
  });
});

describe('stop texts', () => {
  it('end an answer, which keeps them', async () => {
    const actions: string[] = [];
    class Listening extends Known {
      override step(action: string) {
        actions.push(action);
        return super.step(action);
      }
    }
    const stopped = await collect(Listening, {}, { stop: ['3 3', '####'], samples: 16 });
    const texts = actions.filter((action) => /3 3|####/.test(action));
    expect(texts.length).toBeGreaterThan(10);
    for (const text of texts) expect(text).toMatch(/(3 3|####)$/);
    for (const { responseIds, turns, stopReason } of stopped) {
      const { start, end } = turns!.at(-1)!;
      const last = responseIds.slice(start, end);
      expect(stopReason).toBe(last.at(-1) === eosId || /3 3|####/.test(tokenizer.decode(last)) ? 'stop' : 'length');
    }
    // Up to its stop text a response is what it would have been without.
    const free = await collect(Known, { maxTurns: 1 }, { samples: 16 });
    stopped.forEach(({ responseIds, turns }, i) => {
      const first = responseIds.slice(0, turns![0]!.end);
      expect(first).toEqual(free[i]!.responseIds.slice(0, first.length));
    });
  });

  it('decide, as the end token does, whether zero_reward_on_non_stop leaves a reward', async () => {
    const [kept, zeroed] = [await collect(Known), await collect(Known, { zeroRewardOnNonStop: true })];
    expect(new Set(kept.map(({ stopReason }) => stopReason))).toEqual(new Set(['stop', 'length']));
    zeroed.forEach((trajectory, i) => {
      const { stopReason, turns } = kept[i]!;
      const rewards = stopReason === 'stop' ? [1, 2, 3] : [0, 0, 0];
      expect(trajectory).toEqual({ ...kept[i], reward: stopReason === 'stop' ? 6 : 0, turns: turns!.map((turn, k) => ({ ...turn, reward: rewards[k] })) });
    });
  });
});
