/** Turns a valid call, as text, into one that is wrong in a few places: parses it, and replaces, wraps, repeats or leaves out some of its expressions. */
import ts from 'typescript';
import type { Random } from '../../tensor/helpers';

/** A place in the text, and what may be done there. */
interface Place {
  start: number;
  end: number;
  text: string;
  kind: 'value' | 'number' | 'string' | 'object' | 'array' | 'tensor' | 'function' | 'property' | 'element' | 'argument' | 'arguments' | 'properties';
}

interface Edit {
  start: number;
  end: number;
  text: string;
}

const dtypes = ['float32', 'float64', 'bfloat16', 'int32', 'uint8', 'bool'];
const extents = [0, 1, 2, 3, 5];
const arrays = ['Float32Array', 'Float64Array', 'Int32Array', 'Uint8Array', 'BigInt64Array', 'Uint16Array', 'Int8Array'];

const numbers = ['NaN', 'Infinity', '-Infinity', '-0', '0', '-1', '1', '2', '0.5', '-2.5', '1e9', '2**31', '-(2**31)', '2**32', '2**53', '1e300', '5e-324', '1e12', '256', '100'];
const hostile = [
  ...numbers,
  '10n',
  'Symbol("s")',
  '"text"',
  '""',
  'null',
  'undefined',
  'true',
  'false',
  '"__proto__"',
  '"constructor"',
  '"toString"',
  '"cuda"',
  '"cpu"',
  'h.text(5000)',
  '{}',
  '[]',
  '[[]]',
  '[[1], [1, 2]]',
  '[NaN]',
  '["1"]',
  '[null]',
  '[undefined]',
  '[1n]',
  '[Symbol()]',
  '[[[1]]]',
  '[[0, 1], [1, 0]]',
  '[-1]',
  '[1e9]',
  '[0]',
  '[2, 3]',
  'new Map()',
  'new Map([["a", 1]])',
  'new Set([1])',
  'new Date(0)',
  '/x/',
  '() => 1',
  'async () => 1',
  '(x) => x',
  '() => h.boom()',
  '(function* () { yield 1 })',
  '(function* () { yield 1 })()',
  '(class {})',
  '() => h.nested()',
  '() => h.disposeAll()',
  '() => T([2, 3])',
  'Promise.resolve(1)',
  'h.rejected()',
  'h.cyclic()',
  'h.cyclicObject()',
  'h.deep()',
  'h.proxy({})',
  'h.throwing({})',
  'h.throwing([])',
  'h.revoked()',
  'Object.create(null)',
  'h.badToString()',
  'h.badIterator()',
  'h.badNext()',
  'h.endless()',
  'h.thenable()',
  'h.badConstructor()',
  'h.badTag()',
  'h.long(1e12)',
  'h.long(-1)',
  'h.sparse(3)',
  'h.sparse(2**32 - 1)',
  'new DataView(new ArrayBuffer(8))',
  'new ArrayBuffer(8)',
  'Buffer.from("abc")',
  'JSON.parse(\'{"__proto__": 1}\')',
  '({ __proto__: null })',
  '({ a: 1 })',
  'h.boom',
  'h.disposedTensor()',
  'T([])',
  'T([0])',
  'T([2, 3])',
  'T([2, 0])',
  'T([3, 2]).transpose()',
  'v.zeros([1e12])',
  'v.zeros([2, 3])',
  'v.full([2, 3], NaN)',
  'h.hollow(v.Tensor)',
  'v.Tensor',
  'v.Tensor.prototype',
  'v.tensor(1)',
  'T([2, 3]).mul(NaN)',
  'T([2, 3]).div(0)',
  'I([2, 3]).neg()',
];
const wraps = ['proxy', 'throwing', 'throwingLater', 'disposing', 'disposingLater', 'reentrant', 'getters', 'fickle', 'frozen', 'withoutPrototype', 'inherited', 'holes'];
const tensorWraps = ['disposed', 'proxy', 'throwing', 'disposing', 'disposingLater', 'realized', 'view'];

const parsed = new Map<string, Place[]>();

function placesOf(source: string): Place[] {
  let places = parsed.get(source);
  if (!places) parsed.set(source, places = findPlaces(source));
  return places;
}

export function parse(source: string): ts.SourceFile {
  return ts.createSourceFile('case.js', `async () => (${source.replace(/^await /, '      ')}\n)`, ts.ScriptTarget.ES2022, true, ts.ScriptKind.JS);
}

/** What `parse` puts before the call. */
const OFFSET = 'async () => ('.length;

export function rootOf(file: ts.SourceFile): ts.Expression {
  const [statement] = file.statements;
  const arrow = (statement as ts.ExpressionStatement).expression as ts.ArrowFunction;
  return (arrow.body as ts.ParenthesizedExpression).expression;
}

export const rangeOf = (file: ts.SourceFile, node: ts.Node) => ({ start: node.getStart(file) - OFFSET, end: node.getEnd() - OFFSET });

function findPlaces(source: string): Place[] {
  const file = parse(source);
  const places: Place[] = [];
  const add = (node: ts.Node, kind: Place['kind']) => {
    const { start, end } = rangeOf(file, node);
    places.push({ start, end, text: source.slice(start, end), kind });
  };
  const list = (nodes: ts.NodeArray<ts.Node>, kind: 'arguments' | 'properties') => {
    const [start, end] = [nodes.pos - OFFSET, nodes.end - OFFSET];
    places.push({ start, end, text: source.slice(start, end), kind });
  };
  const kindOf = (node: ts.Expression): Place['kind'] => {
    if (ts.isNumericLiteral(node) || ts.isPrefixUnaryExpression(node)) return 'number';
    if (ts.isStringLiteral(node)) return 'string';
    if (ts.isObjectLiteralExpression(node)) return 'object';
    if (ts.isArrayLiteralExpression(node)) return 'array';
    if (ts.isArrowFunction(node) || ts.isFunctionExpression(node) || ts.isClassExpression(node)) return 'function';
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && ['T', 'M', 'I'].includes(node.expression.text)) return 'tensor';
    return 'value';
  };
  const value = (node: ts.Expression): void => {
    add(node, kindOf(node));
    walk(node);
  };
  const walk = (node: ts.Node): void => {
    if (ts.isCallExpression(node) || ts.isNewExpression(node)) {
      const callee = node.expression;
      // `v.name` is what the call is about; what stands before a method may be changed.
      if (ts.isPropertyAccessExpression(callee) && !ts.isIdentifier(callee.expression)) value(callee.expression);
      const args = node.arguments ?? ts.factory.createNodeArray();
      if (node.arguments) list(args, 'arguments');
      for (const argument of args) value(argument);
      for (const argument of args) add(argument, 'argument');
    } else if (ts.isObjectLiteralExpression(node)) {
      list(node.properties, 'properties');
      for (const property of node.properties) {
        add(property, 'property');
        if (ts.isPropertyAssignment(property)) value(property.initializer);
      }
    } else if (ts.isArrayLiteralExpression(node)) {
      for (const element of node.elements) {
        add(element, 'element');
        value(element);
      }
    } else if (ts.isArrowFunction(node)) {
      if (ts.isBlock(node.body)) ts.forEachChild(node.body, walk);
      else value(node.body);
    } else if (ts.isExpressionStatement(node)) walk(node.expression);
    else if (ts.isReturnStatement(node) && node.expression) value(node.expression);
    else if (ts.isPropertyAccessExpression(node)) { if (!ts.isIdentifier(node.expression)) value(node.expression); }
    else if (!ts.isIdentifier(node)) ts.forEachChild(node, walk);
  };
  walk(rootOf(file));
  return places;
}

function tensorText(random: Random): string {
  const shape = Array.from({ length: random.integer(0, 4) }, () => random.pick(extents));
  if (random.next() < 0.15) return `M([${shape.join(', ')}], "${random.pick(dtypes)}")`;
  return `T([${shape.join(', ')}], "${random.pick(dtypes)}")`;
}

function arrayText(random: Random): string {
  const Class = random.pick(arrays);
  const kinds = [`new ${Class}(${random.integer(0, 6)})`, `h.detached(${Class})`, `h.shared(${Class})`, `h.resizable(${Class})`, `h.outOfBounds(${Class})`, 'Float32Array.of(1, NaN, 3)'];
  return random.pick(kinds);
}

function anything(random: Random): string {
  const roll = random.next();
  return roll < 0.2 ? tensorText(random) : roll < 0.3 ? arrayText(random) : random.pick(hostile);
}

function edit(place: Place, random: Random, words: readonly string[]): Edit {
  const { start, end, text } = place;
  const replace = (by: string): Edit => ({ start, end, text: by });
  const own = random.next();
  switch (place.kind) {
    case 'property':
      return replace(own < 0.5 ? '__left_out__: undefined' : own < 0.7 ? `x${text}` : `get y() { return h.boom(); }, ${text}`);
    case 'properties':
      return replace(
        own < 0.4
          ? `${text}${text.trim() === '' ? '' : ','} ${random.pick(words)}: ${anything(random)} `
          : own < 0.5
          ? ` ...${anything(random)}, ${text}`
          : ` "__proto__": ${anything(random)}, ${text}`,
      );
    case 'element':
      return replace(own < 0.4 ? `...[]` : own < 0.8 ? `${text}, ${text}` : `${text}, ${anything(random)}`);
    case 'argument':
      return replace(own < 0.5 ? '...[]' : own < 0.8 ? 'undefined' : `${anything(random)}, ${text}`);
    case 'arguments':
      return replace(own < 0.3 ? '' : `${text}${text.trim() === '' ? '' : ','} ${anything(random)}`);
    case 'number':
      if (own < 0.7)
        return replace(
          own < 0.2
            ? `(${text} + 1)`
            : own < 0.3
            ? `(${text} - 1)`
            : own < 0.35
            ? `(-${text})`
            : own < 0.4
            ? `(${text} + 0.5)`
            : own < 0.45
            ? `"${text}"`
            : own < 0.5
            ? `${text.replace(/\W/g, '')}n`.replace(/^[^0-9]*$/, '0n')
            : random.pick(numbers),
        );
      break;
    case 'string':
      if (own < 0.6) return replace(own < 0.5 ? JSON.stringify(random.pick(words)) : JSON.stringify(`${text.slice(1, -1)}x`));
      break;
    case 'tensor':
      if (own < 0.65) return replace(own < 0.4 ? tensorText(random) : `h.${random.pick(tensorWraps)}(${text})`);
      break;
    case 'object':
    case 'array':
      if (own < 0.5) return replace(`h.${random.pick(wraps)}(${text})`);
      break;
    case 'function':
      if (own < 0.5)
        return replace(
          random.pick([
            '() => 1',
            '() => null',
            '() => undefined',
            'async () => 1',
            '() => h.boom()',
            '() => h.disposeAll()',
            '(x) => x',
            '() => h.nested()',
            '(...all) => all',
            '() => h.nestedScan()',
            '() => T([2, 3])',
            '() => []',
            '() => Promise.resolve(1)',
          ]),
        );
      break;
    case 'value':
      if (own < 0.2) return replace(`h.${random.pick(wraps)}(${text})`);
  }
  return replace(anything(random));
}

/** One to four changes at places that do not overlap; now and then none. */
export function mutate(source: string, random: Random, words: readonly string[]): string {
  const places = placesOf(source);
  if (places.length === 0) return source;
  const roll = random.next();
  const wanted = roll < 0.04 ? 0 : roll < 0.6 ? 1 : roll < 0.85 ? 2 : random.integer(3, 4);
  const edits: Edit[] = [];
  for (let i = 0; i < wanted; i++) {
    const place = random.pick(places);
    if (!edits.some(({ start, end }) => place.start <= end && start <= place.end)) edits.push(edit(place, random, words));
  }
  edits.sort((a, b) => b.start - a.start);
  let text = source;
  for (const { start, end, text: by } of edits) text = text.slice(0, start) + by + text.slice(end);
  return text;
}

/** Calls with as few in them as still give the finding: each round tries to leave something out or to put something plain in its place. */
export function* smaller(source: string): Generator<string> {
  const file = parse(source);
  const cut = (start: number, end: number, by: string) => source.slice(0, start) + by + source.slice(end);
  const nodes: ts.Node[] = [];
  const walk = (node: ts.Node) => {
    nodes.push(node);
    ts.forEachChild(node, walk);
  };
  ts.forEachChild(rootOf(file), walk);
  for (const node of nodes) {
    const { start, end } = rangeOf(file, node);
    const { parent } = node;
    const siblings = ts.isArrayLiteralExpression(parent)
      ? parent.elements
      : ts.isObjectLiteralExpression(parent)
      ? parent.properties
      : (ts.isCallExpression(parent) || ts.isNewExpression(parent)) && node !== parent.expression
      ? parent.arguments
      : undefined;
    if (siblings && siblings.length > 0) {
      const at = (siblings as readonly ts.Node[]).indexOf(node);
      const next = siblings[at + 1];
      if (next) yield cut(start, rangeOf(file, next).start, '');
      else yield cut(at > 0 ? rangeOf(file, siblings[at - 1]!).end : start, end, '');
    }
    if (!ts.isExpression(node) || ts.isIdentifier(node) || ts.isArrowFunction(parent) || (ts.isCallExpression(parent) && parent.expression === node)) continue;
    const text = source.slice(start, end);
    if (text.length > 1) { for (const by of ['0', '[]', '{}']) if (text !== by && !(text.length === 2 && by.length === 2)) yield cut(start, end, by); }
    if (ts.isCallExpression(node) && node.arguments.length > 0 && text.startsWith('h.')) yield cut(start, end, node.arguments[0]!.getText(file));
  }
}
