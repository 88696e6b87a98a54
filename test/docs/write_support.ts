/** `npm run docs:support`: writes docs/support.md. With VANTAGE_CUDA_LIBRARY, or a GPU, the CUDA column is tried too. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { deviceInfo } from '../../src';
import { renderSupport, supportPage } from './support_page';

const { available, reason } = deviceInfo('cuda');
if (!available) console.log(`no CUDA device (${reason}): its column stays as it is`);
const text = renderSupport(existsSync(supportPage) ? readFileSync(supportPage, 'utf8') : '', available);
writeFileSync(supportPage, text);
console.log(`${supportPage}: ${text.split('\n').length} lines`);
