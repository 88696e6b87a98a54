import type { Transformer } from '../models';
import { tensor } from '../tensor';

/** Gives `to` the weights that `from` has now; later updates of `from` leave it alone. */
export function copyWeights(from: Transformer, to: Transformer): void {
  for (const [name, weight] of from.parameters) {
    const copy = tensor(weight.dataSync(), { shape: weight.shape, dtype: weight.dtype, device: weight.device });
    to.parameters.get(name)!.replace(copy.node);
    copy.dispose();
  }
}
