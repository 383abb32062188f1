/**
 * Which class a stored class name means. JavaScript cannot import a class by
 * its name, so that programs register theirs.
 *
 * @module
 */
import { ClassError } from "../errors.ts";
import { nameOfClass, PersistentObject } from "./persistent.ts";

/** A class whose instances can be stored. */
export type PersistentClass<T extends PersistentObject = PersistentObject> =
  & {
    // deno-lint-ignore no-explicit-any
    new (...args: any[]): T;
    readonly prototype: T;
  }
  & Pick<typeof PersistentObject, "_p_create">;

/** Names of classes and the classes they mean, on top of those of the whole program. */
export class ClassRegistry {
  #classes = new Map<string, PersistentClass>();
  #names = new Map<object, string>();
  #base: ClassRegistry | undefined;
  /** What `currentName` has found. */
  #current = new Map<string, string>();

  /** Makes an empty registry; what it does not know, `base` is asked for. */
  constructor(base?: ClassRegistry) {
    this.#base = base;
  }

  /**
   * Registers a class under a name. A second name for the same class is an
   * alias that is read but not written.
   *
   * @throws {ClassError} if it is no persistent class, or the name is taken.
   */
  register(name: string, value: PersistentClass): void {
    if (
      typeof value !== "function" ||
      !(value.prototype instanceof PersistentObject)
    ) {
      throw new ClassError(
        `Cannot register ${name}: it does not extend Persistent or PersistentObject`,
      );
    }
    if (name === "") {
      throw new ClassError(
        `Cannot register ${
          nameOfClass(value.prototype) || "a class"
        }: the name to register it under is empty`,
      );
    }
    const taken = this.#classes.get(name);
    if (taken !== undefined && taken !== value) {
      throw new ClassError(
        `Cannot register ${name}: another class has that name already`,
      );
    }
    this.#classes.set(name, value);
    if (!this.#names.has(value.prototype)) {
      this.#names.set(value.prototype, name);
    }
  }

  /** Returns the class of a name, or `undefined` if it is not registered. */
  classOf(name: string): PersistentClass | undefined {
    return this.#classes.get(name) ?? this.#base?.classOf(name);
  }

  /**
   * Returns the name that instances of a class are stored under.
   *
   * @throws {ClassError} if the class is not registered, or its name means another one here.
   */
  nameOf(prototype: object): string {
    const name = this.#names.get(prototype) ?? this.#base?.nameOf(prototype);
    if (name === undefined) {
      const own = nameOfClass(prototype);
      throw new ClassError(
        own === ""
          ? "a class without a name is not registered; pass it to the connection under one, as classes: { Name: ... }"
          : `the class ${own} is not registered; pass it to the connection as classes: { ${own} }`,
      );
    }
    // The program's name for it may be the connection's name for another.
    if (this.classOf(name)?.prototype !== prototype) {
      throw new ClassError(
        `the class ${
          nameOfClass(prototype)
        } is registered as ${name}, but the connection was given another class of that name`,
      );
    }
    return name;
  }

  /**
   * Returns the name to go on with for an object that is stored under another:
   * the first name of its class, so that a class that was renamed takes its new
   * name along whenever something is stored.
   */
  currentName(name: string): string {
    const known = this.#current.get(name);
    if (known !== undefined) return known;
    const prototype = this.classOf(name)?.prototype;
    if (prototype === undefined) return name;
    let current = name;
    try {
      current = this.nameOf(prototype);
    } catch {
      // Its first name means another class here.
    }
    this.#current.set(name, current);
    return current;
  }
}

/** The classes that are registered for the whole program. */
export const PROGRAM_CLASSES: ClassRegistry = new ClassRegistry();

/**
 * Registers a class for the whole program, so that every connection stores and
 * loads instances of it under the given name. The name is part of the stored
 * data: choose one that stays, such as `"bank.Account"`. A class that is
 * registered under two names is stored under the first. What is stored under
 * the second is read, and gets the first name when it is stored again: the
 * object itself with its next change, a reference with the next change of the
 * object that holds it.
 *
 * @throws {ClassError} if it is no persistent class, or the name is taken.
 *
 * @example
 * ```ts
 * import {
 *   Connection,
 *   MemoryStorage,
 *   Persistent,
 *   registerClass,
 * } from "@dhara/dhara";
 *
 * class Account extends Persistent {}
 * registerClass("bank.Account", Account);
 *
 * using connection = new Connection(new MemoryStorage());
 * connection.root["ada"] = new Account();
 * connection.commit();
 * ```
 */
export function registerClass(name: string, value: PersistentClass): void {
  PROGRAM_CLASSES.register(name, value);
}
