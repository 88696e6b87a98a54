import { ByteTokenizer, WordTokenizer } from '../../src/data';
import { SmallRandom } from '../../src/data/random';
import { stopTest } from '../../src/trainer/stop_texts';

it('there is nothing to ask where there are no texts', () => {
  expect(stopTest(new ByteTokenizer(), null)).toBeUndefined();
  expect(stopTest(new ByteTokenizer(), [])).toBeUndefined();
});

it.each(
  [
    ['bytes', new ByteTokenizer(), ['aba', '€b', 'b'.repeat(6)], [97, 98, 0xe2, 0x82, 0xac, 256, 257]],
    ['words', new WordTokenizer(), ['3 3 =', '####'], [3, 3, 3, 10, 12, 13, 5]],
  ] as const,
)('asked after each token it is true first where the whole text holds a stop text: %s', (_, tokenizer, texts, ids) => {
  const isComplete = stopTest(tokenizer, texts)!;
  const random = new SmallRandom(1);
  let ended = 0;
  for (let trial = 0; trial < 600; trial++) {
    const response: number[] = [];
    for (let t = 0; t < 24; t++) {
      response.push(ids[random.below(ids.length)]!);
      const text = tokenizer.decode(response);
      const expected = texts.some((stop) => text.includes(stop));
      expect(isComplete(response)).toBe(expected);
      if (!expected) continue;
      ended++;
      break;
    }
  }
  expect(ended).toBeGreaterThan(50);
});
