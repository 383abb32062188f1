/** The part of `@std/assert` that the tests use, over `node:assert`. */
import nodeAssert from "node:assert";

// deno-lint-ignore no-explicit-any
type ErrorClass<E> = abstract new (...args: any[]) => E;

export function assert(value: unknown, message?: string): asserts value {
  nodeAssert.ok(value, message);
}

export function assertEquals<T>(actual: T, expected: T, message?: string) {
  nodeAssert.deepStrictEqual(actual, expected, message);
}

export function assertStrictEquals<T>(actual: unknown, expected: T) {
  nodeAssert.strictEqual(actual, expected);
}

function check<E>(error: unknown, type?: ErrorClass<E>, part = ""): E {
  nodeAssert.ok(!type || error instanceof type, String(error));
  nodeAssert.ok((error as Error).message.includes(part), String(error));
  return error as E;
}

export function assertThrows<E = Error>(
  work: () => unknown,
  type?: ErrorClass<E>,
  messageIncludes?: string,
): E {
  try {
    work();
  } catch (error) {
    return check(error, type, messageIncludes);
  }
  throw new nodeAssert.AssertionError({ message: "Expected work to throw" });
}

export async function assertRejects<E = Error>(
  work: () => PromiseLike<unknown>,
  type?: ErrorClass<E>,
  messageIncludes?: string,
): Promise<E> {
  try {
    await work();
  } catch (error) {
    return check(error, type, messageIncludes);
  }
  throw new nodeAssert.AssertionError({ message: "Expected work to reject" });
}
