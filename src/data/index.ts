export { PromptDataset, type PromptDatasetOptions, type PromptExample } from './dataset';
export { HuggingFaceTokenizer, loadTokenizer } from './huggingface_tokenizer';
export { type Gsm8kRows, readGsm8k } from './gsm8k';
export { type JsonLine, readJsonl, writeJsonl } from './jsonl';
export { DataLoader, type DataLoaderOptions, type DataLoaderState, inBatches } from './loader';
export { readParquet, writeParquet } from './parquet';
export type { AnyRow, ChatMessage, PromptRow } from './rows';
export { generateTask, type TaskName, taskNames, type TaskOptions } from './tasks';
export { ByteTokenizer, createTokenizer, encodeObservations, listTokenizers, registerTokenizer, type Tokenizer, tokenizerFiles, tokenizers, ToolWordTokenizer, WordTokenizer } from './tokenizer';
