import type { MutantList } from "./mutant.ts";

const list: MutantList = {
  part: "connection and cache",
  tests: [
    "transact",
    "cache",
    "hooks",
    "open_storage",
    "connection",
    "sessions",
    "persistent",
    "history",
    "serializable",
  ],
  mutants: [
    {
      bug: "a listener of beforeCommit() is not shown what another one changed",
      file: "lib/connection/before_commit.ts",
      find: "if (before !== undefined && equalBytes(before, record)) return;",
      replace: "if (before !== undefined) return;",
      tests: ["before_commit"],
    },
    {
      bug: "what a listener of beforeCommit() changes is not stored",
      file: "lib/connection/before_commit.ts",
      find: "if (fresh.length === 0) return changes;",
      replace: "if (fresh.length === 0 || round === 2) return changes;",
      tests: ["before_commit"],
    },
    {
      bug: "listeners of beforeCommit() that never agree go on for ever",
      file: "lib/connection/before_commit.ts",
      find: "if (round > MOST_ROUNDS) {",
      replace: "if (round > 100 * MOST_ROUNDS) {",
      tests: ["before_commit"],
    },
    {
      bug: "a listener of beforeCommit() may commit",
      file: "lib/persistent/hooks.ts",
      find: "this.running = what;",
      replace: "",
      tests: ["before_commit"],
    },
    {
      bug: "a new object has a stored state for a listener of beforeCommit()",
      file: "lib/connection/before_commit.ts",
      find: "isNew ? undefined : this.#stored(slot)",
      replace: "this.#stored(slot)",
      tests: ["before_commit"],
    },
    {
      bug: "a commit is tried again with objects that were not taken back",
      file: "lib/connection/transactions.ts",
      find: "      this.objects.takeBack(changes);\n      const before",
      replace: "      const before",
      tests: ["transact"],
    },
    {
      bug: "what the transaction just ended has used is let go",
      file: "lib/connection/live_objects.ts",
      find: 'slot.serial !== serial && slot.status !== "unsaved"',
      replace: 'slot.status !== "unsaved"',
    },
    {
      bug: "a changed object is let go",
      file: "lib/connection/live_objects.ts",
      find: 'slot.serial !== serial && slot.status !== "unsaved"',
      replace: "slot.serial !== serial && slot.serial >= 0",
    },
    {
      bug: "a missing object that was asked for is no access",
      file: "lib/connection/live_objects.ts",
      find: "this.#missed.has(oid) || this.#letGo.has(oid)",
      replace: "this.#letGo.has(oid)",
    },
    {
      bug: "what shrink() let go of was not accessed",
      file: "lib/connection/live_objects.ts",
      find: "this.#missed.has(oid) || this.#letGo.has(oid)",
      replace: "this.#missed.has(oid)",
    },
    {
      bug: "what was asked for in vain stays so in the next transaction",
      file: "lib/connection/live_objects.ts",
      find: "    this.#missed.clear();\n",
      replace: "",
    },
    {
      bug: "shrink() lets go of changes",
      file: "lib/connection/live_objects.ts",
      find: '      if (slot.status === "unsaved") return false;\n',
      replace: "",
    },
    {
      bug: "what is dropped holds on to what it referred to",
      file: "lib/connection/live_objects.ts",
      find: "    this.cache.release(made);\n",
      replace: "",
    },
    {
      bug: "an abort keeps the list of changes",
      file: "lib/connection/live_objects.ts",
      find:
        "    for (const slot of this.changed.values()) this.#drop(slot);\n    this.changed.clear();",
      replace:
        "    for (const slot of this.changed.values()) this.#drop(slot);",
    },
    {
      bug: "an abort keeps the changed states",
      file: "lib/connection/live_objects.ts",
      find: "    for (const slot of this.changed.values()) this.#drop(slot);\n",
      replace: "",
    },
    {
      bug: "the numbers of a server that is gone are used on",
      file: "lib/connection/live_objects.ts",
      find: "      this.#free = [];\n      return;",
      replace: "      return;",
    },
    {
      bug: "a new object stays attached when its commit failed",
      file: "lib/connection/live_objects.ts",
      find: "      slots[i]!.detach();\n",
      replace: "",
    },
    {
      bug: "what a failed commit has changed counts as saved",
      file: "lib/connection/live_objects.ts",
      find:
        '    for (let i = 0; i < changed; i++) slots[i]!.status = "unsaved";\n',
      replace: "",
    },
    {
      bug: "new objects may change while they are stored",
      file: "lib/connection/live_objects.ts",
      find: "if (this.#encoding || this.hooks.running === DROPPING) {",
      replace: "if (this.hooks.running === DROPPING) {",
    },
    {
      bug: "the past may be changed",
      file: "lib/connection/live_objects.ts",
      find: "if (this.#isPast) {",
      replace: "if (false) {",
    },
    {
      bug: "new objects are not found by number",
      file: "lib/connection/live_objects.ts",
      find:
        "      this.cache.add(slots[i]!);\n      this.cache.hold(slots[i]!);",
      replace: "      this.cache.hold(slots[i]!);",
    },
    {
      bug: "the root's number goes to any object",
      file: "lib/connection/live_objects.ts",
      find: "while (oid === undefined || oid === 0) {",
      replace: "while (oid === undefined) {",
    },
    {
      bug: "an object of another connection is stored",
      file: "lib/connection/live_objects.ts",
      find: "if (slot.owner !== DETACHED) {\n      throw new EncodeError(",
      replace: "if (slot.owner === undefined) {\n      throw new EncodeError(",
    },
    {
      bug: "a closed connection's objects load",
      file: "lib/connection/live_objects.ts",
      find: "this.serial = -2;",
      replace: "this.serial = 2 ** 40;",
    },
    {
      bug: "what others changed is not dropped after a commit",
      file: "lib/connection/transactions.ts",
      find:
        "this.objects.settle(changes);\n        this.objects.invalidate(result.changed);",
      replace: "this.objects.settle(changes);",
    },
    {
      bug: "changes are not taken back when the storage fails",
      file: "lib/connection/transactions.ts",
      find:
        "    } catch (error) {\n      this.objects.takeBack(changes);\n      throw error;\n    }",
      replace: "    } catch (error) {\n      throw error;\n    }",
    },
    {
      bug: "nothing is refused after a read conflict",
      file: "lib/connection/transactions.ts",
      find: "    this.objects.failure = error;\n    this.#stale",
      replace: "    this.#stale",
    },
    {
      bug: "what a read conflict has found is forgotten by abort()",
      file: "lib/connection/transactions.ts",
      find:
        "    for (const changed of this.#stale) this.objects.invalidate(changed);\n",
      replace: "",
    },
    {
      bug: "a commit that is refused for nothing is tried for ever",
      file: "lib/connection/transactions.ts",
      find: "if (attempt >= COMMIT_ATTEMPTS) {",
      replace: "if (attempt < 0) {",
    },
    {
      bug: "transact() does not begin on the newest snapshot",
      file: "lib/connection/connection.ts",
      find: "        this.#abort();\n        let running",
      replace: "        let running",
    },
    {
      bug: "transact() leaves the changes of what threw",
      file: "lib/connection/connection.ts",
      find:
        "          try {\n            this.#abort();\n          } catch {\n            // Such as",
      replace:
        '          try {\n            this.#checkOpen("");\n          } catch {\n            // Such as',
    },
    {
      bug: "transact() is not bounded",
      file: "lib/connection/connection.ts",
      find: "|| attempt >= attempts) {",
      replace: "|| attempt < 0) {",
    },
    {
      bug: "an asynchronous function's changes are stored later",
      file: "lib/connection/connection.ts",
      find: "          if (running !== undefined) this.#waitFor(running);\n",
      replace:
        "          if (running !== undefined) Promise.resolve(running).catch(() => {});\n",
    },
    {
      bug: "commit() may be called inside transact()",
      file: "lib/connection/connection.ts",
      find:
        "    if (this.#transacting) {\n      throw new ConnectionError(\n        `Cannot call ${what}",
      replace:
        '    if (what === "") {\n      throw new ConnectionError(\n        `Cannot call ${what}',
    },
    {
      bug: "the session of a closed connection stays open",
      file: "lib/connection/connection.ts",
      find: "    this.#session?.close();\n",
      replace: "",
    },
    {
      bug: "the storage of a closed connection stays open",
      file: "lib/connection/connection.ts",
      find: "    if (this.#ownsStorage) this.storage?.close();",
      replace: "    if (this.#ownsStorage) this.storage;",
    },
    {
      bug: "pack() takes a connection with changes",
      file: "lib/connection/connection.ts",
      find: '    this.#checkNoChanges("pack");\n',
      replace: "",
    },
    {
      bug: "the storage stays open where opening a connection failed",
      file: "lib/connection/connection.ts",
      find: "    } catch (error) {\n      storage.close();\n      throw error;",
      replace: "    } catch (error) {\n      throw error;",
    },
    {
      bug: "what was used lately is let go first",
      file: "lib/connection/cache.ts",
      find: "    if (slot.generation === this.#newest) return;\n    if",
      replace: "    if (slot.generation !== 0) return;\n    if",
    },
    {
      bug: "what is let go keeps its place",
      file: "lib/connection/cache.ts",
      find: "    slot.generation = 0;\n    this.#count--;",
      replace: "    slot.generation = 0;",
    },
    {
      bug: "an object that was let go is made anew while somebody holds it",
      file: "lib/connection/cache.ts",
      find: "    return object && slotOf(object);",
      replace: "    return undefined;",
    },
    {
      bug: "an object that nobody holds stays for ever",
      file: "lib/connection/cache.ts",
      find: "    this.#index.set(slot.oid, new WeakRef(slot.self));\n",
      replace: "",
    },
    {
      bug: "more is kept than the size says",
      file: "lib/connection/cache.ts",
      find: "while (this.#count > this.size &&",
      replace: "while (this.#count > 2 * this.size &&",
    },
  ],
};
export default list;
