/**
 * Stored properties whose names a class uses for an accessor or a method, as
 * the next version of a class may. The class wins, as it does for new objects.
 * The value that was stored stays in the record, and a class that wants it
 * finds it in its `_p_setState`.
 *
 * @module
 */
type State = Record<string, unknown>;

/** What was stored under the names of members, by the bare object. */
const kept = new WeakMap<object, State>();
/** Whether there ever was any: nearly always not. */
let isAnyKept = false;

/** Returns what a class has under a name, if that is no place for a value: never so for `constructor`. */
function memberOf(
  prototype: object,
  name: string,
): "an accessor" | "a method" | undefined {
  if (name === "constructor") return undefined;
  let at: object | null = prototype;
  // What all objects have may be a field.
  while (at !== null && at !== Object.prototype) {
    const member = Object.getOwnPropertyDescriptor(at, name);
    if (member) {
      if (member.get || member.set) return "an accessor";
      return typeof member.value === "function" ? "a method" : undefined;
    }
    at = Object.getPrototypeOf(at);
  }
  return undefined;
}

const names = new WeakMap<object, ReadonlySet<string>>();

/** Returns the names that instances of a class inherit: looking there is quicker than asking the prototype. */
export function inheritedNames(prototype: object): ReadonlySet<string> {
  let found = names.get(prototype);
  if (found === undefined) {
    const all: string[] = [];
    let at: object | null = prototype;
    while (at !== null && at !== Object.prototype) {
      all.push(...Object.getOwnPropertyNames(at));
      at = Object.getPrototypeOf(at);
    }
    names.set(prototype, found = new Set(all));
  }
  return found;
}

/**
 * Returns why a value cannot be stored under a name, if so. A function cannot
 * be stored at all, and may stand in a method's place until a commit says so.
 */
export function whyHidden(
  target: object,
  name: string,
  value: unknown,
): string | undefined {
  const prototype = Object.getPrototypeOf(target);
  if (!(name in prototype) || typeof value === "function") return undefined;
  const member = memberOf(prototype, name);
  return member &&
    `its class has ${member} of that name, which would hide the value when it is loaded again`;
}

/** Keeps a stored value aside if the class has a member of that name, and returns whether it did. */
export function keepAside(
  target: object,
  name: string,
  value: unknown,
): boolean {
  const prototype = Object.getPrototypeOf(target);
  if (memberOf(prototype, name) === undefined) return false;
  let values = kept.get(target);
  if (values === undefined) {
    values = Object.create(null) as State;
    kept.set(target, values);
    isAnyKept = true;
  }
  values[name] = value;
  return true;
}

/** Returns the fields of an object, and with them what was kept aside. */
export function fieldsOf(target: object): State {
  const values = isAnyKept ? kept.get(target) : undefined;
  return values ? { ...values, ...target } : target as State;
}

/** Forgets what was kept aside. */
export function forgetKept(target: object): void {
  if (isAnyKept) kept.delete(target);
}
