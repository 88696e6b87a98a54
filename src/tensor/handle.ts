/** The lifetime of a tensor: how it holds the node behind it, and when it lets go. */
import { COPY, TensorError, thisCopy } from '../errors';
import { Node, release, retain } from './graph';
import { currentScope, Disposable, keep, liveTensors } from './memory';
import { publicName } from './operations';

const finalizer = new FinalizationRegistry<Node>((node) => {
  liveTensors.count--;
  release(node);
});

/** What an argument is told that is no longer there, behind its name. */
export const DISPOSED = 'expected a Tensor that is there, got one that was disposed';

/** In the message of the DataCloneError. */
const UNCLONEABLE = Symbol('a Tensor: send what its dataSync() gives');

/** Holds a node until it is disposed of, its `tidy` ends, or it is collected. */
export class Handle extends Disposable {
  /** @internal Structured clones are made of what an object holds, and of no symbol: without this one, `postMessage` would send an object without methods and numbers. */
  readonly uncloneable = UNCLONEABLE;
  private current: Node | null;
  /**
   * This tensor, where the collector frees it: what takes it off the collector's list, also when it is disposed of through a Proxy. Registering costs more than the rest
   * of a tensor; a `tidy` holds what it will dispose of, so that there is nothing to collect.
   */
  private collected: object | null = null;

  /** @internal */
  constructor(node: Node) {
    super();
    if (!(node instanceof Node)) throw new TensorError(`new ${new.target.name}: tensors are made by tensor(…), zeros(…) and other operations, not by the constructor`);
    this.current = node;
    retain(node);
    liveTensors.count++;
    const scope = currentScope();
    if (scope) scope.add(this);
    else this.leaveToCollector();
  }

  /** @internal The node behind the tensor. */
  get node(): Node {
    return this.nodeFor('a tensor');
  }

  /** @internal The node behind the tensor, or an error that names the operation that it is for. */
  nodeFor(operation: string): Node {
    if (this.current) return this.current;
    throw new TensorError(`${publicName(operation)}: ${this.current === null ? DISPOSED : 'expected a tensor that an operation of this library has made, got an object of its class alone'}`);
  }

  /** @internal Makes the tensor stand for another node of the same shape and dtype (optimizer updates). */
  replace(node: Node): void {
    const previous = this.node;
    if (node === previous) return;
    retain(node);
    this.current = node;
    if (this.collected) {
      finalizer.unregister(this.collected);
      finalizer.register(this.collected, node, this.collected);
    }
    release(previous);
  }

  /** @internal */
  leaveToCollector(): void {
    if (this.current === null || this.collected) return;
    this.collected = this;
    finalizer.register(this, this.current, this);
  }

  /** @internal */
  get [COPY](): object {
    return thisCopy;
  }

  /** Whether it was disposed of. */
  get isDisposed(): boolean {
    return this.current === null;
  }

  /** Takes the tensor out of every `tidy` under way. */
  keep(): this {
    return keep(this);
  }

  /** Lets go of the memory now. Using the tensor afterwards is an error; expressions already built on it stay valid. */
  dispose(): void {
    if (!this.current) return;
    const node = this.current;
    this.current = null;
    liveTensors.count--;
    if (this.collected) finalizer.unregister(this.collected);
    else this.scope?.delete(this);
    release(node);
  }

  /** As {@link dispose}, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
