import { join } from 'node:path';
import { main, registerEnvironment, registerTokenizer, writeJsonl } from 'vantage-rl';
import { Guess, guessRows, GuessTokenizer } from './guess';

// Before `main` checks the configuration, which names them.
registerEnvironment('guess', Guess);
registerTokenizer('guess', GuessTokenizer);

writeJsonl('runs/guess/train.jsonl', guessRows(420));
writeJsonl('runs/guess/validation.jsonl', guessRows(7));

void main(process.argv.slice(2), { config: join(__dirname, 'config.yaml') });
