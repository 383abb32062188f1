/** Compares graphs of values more strictly than any `assertEquals` does. */

/**
 * Throws unless `a` and `b` are the same graph: the same kinds of values, own
 * properties in the same order, holes, sharing and cycles alike.
 */
export function assertSame(a: unknown, b: unknown) {
  same(a, b, "value", new Map(), new Map());
}

function fail(path: string, what: string): never {
  throw new Error(`Different at ${path}: ${what}`);
}

function same(
  a: unknown,
  b: unknown,
  path: string,
  left: Map<object, object>,
  right: Map<object, object>,
): void {
  if (typeof a !== "object" || a === null) {
    if (!Object.is(a, b)) fail(path, `${String(a)} and ${String(b)}`);
    return;
  }
  if (typeof b !== "object" || b === null) fail(path, `object and ${b}`);
  if (left.get(a) !== undefined || right.get(b) !== undefined) {
    if (left.get(a) !== b || right.get(b) !== a) fail(path, "sharing");
    return;
  }
  left.set(a, b);
  right.set(b, a);
  const prototype = Object.getPrototypeOf(a);
  if (prototype !== Object.getPrototypeOf(b)) fail(path, "classes");
  const next = (x: unknown, y: unknown, step: string): void =>
    same(x, y, `${path}.${step}`, left, right);
  if (ArrayBuffer.isView(a)) {
    const view = b as ArrayBufferView;
    next(bytes(a), bytes(view), "bytes");
    return;
  }
  if (a instanceof ArrayBuffer) {
    return next(bytes(a), bytes(b as ArrayBuffer), "bytes");
  }
  if (a instanceof Date) next(a.getTime(), (b as Date).getTime(), "time");
  if (a instanceof URL) return next(a.href, (b as URL).href, "href");
  if (a instanceof RegExp) next(String(a), String(b), "source");
  if (a instanceof Map || a instanceof Set) {
    const x = a instanceof Map ? [...a].flat(1) : [...a];
    const y = b instanceof Map ? [...b].flat(1) : [...b as Set<unknown>];
    if (x.length !== y.length) fail(path, "size");
    x.forEach((item, i) => next(item, y[i], `item ${i}`));
  }
  const keys = Reflect.ownKeys(a);
  const otherKeys = Reflect.ownKeys(b);
  if (a instanceof Error) {
    // The stack is an accessor or not, as the runtime likes.
    for (const list of [keys, otherKeys]) {
      list.sort((x, y) => Number(y === "stack") - Number(x === "stack"));
    }
    next(a.stack, (b as Error).stack, "stack");
  }
  if (keys.length !== otherKeys.length) fail(path, "number of keys");
  keys.forEach((key, i) => {
    if (key !== otherKeys[i]) fail(path, `keys ${String(key)}`);
    if (key === "stack") return;
    const x = Object.getOwnPropertyDescriptor(a, key)!;
    const y = Object.getOwnPropertyDescriptor(b, key)!;
    if (x.enumerable !== y.enumerable) fail(path, `hidden ${String(key)}`);
    next(x.value, y.value, String(key));
  });
}

function bytes(data: ArrayBuffer | ArrayBufferView): string {
  const view = ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
  return view.join();
}
