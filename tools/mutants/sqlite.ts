import type { MutantList } from "./mutant.ts";

const PROCESSES = ["sqlite_processes"];
const DAMAGE = ["sqlite_damage"];

const list: MutantList = {
  part: "SqliteStorage",
  tests: ["sqlite_storage"],
  mutants: [
    {
      bug: "changes() passes over what a pack has forgotten",
      file: "lib/storage/sqlite/tables.ts",
      find: "if (moment >= forgotten) return;",
      replace: "return;",
      tests: ["storage_features"],
    },
    {
      bug: "changes() ends after the first rows that are read at once",
      file: "lib/storage/sqlite_storage.ts",
      find: "if (news.length < FEW_CHANGES) return;",
      replace: "return;",
      tests: ["storage_features"],
    },
    // The file.
    {
      bug: "a commit does not wait until it is on the disk",
      file: "lib/storage/sqlite/database.ts",
      find: '"FULL" : "NORMAL"',
      replace: '"NORMAL" : "NORMAL"',
      tests: ["sqlite_sync"],
    },
    {
      bug: "damage that was seen does not stop commits",
      file: "lib/storage/sqlite/database.ts",
      find: "if (this.#damage !== undefined) {",
      replace: "if (false) {",
      tests: DAMAGE,
    },
    {
      bug: "commits to a file that was removed are confirmed",
      file: "lib/storage/sqlite/database.ts",
      find: "if (this.#identify() !== this.#identity) {",
      replace: "if (false) {",
      tests: ["sqlite_file"],
    },
    {
      bug: "a transaction that fails stays open",
      file: "lib/storage/sqlite/database.ts",
      find: 'try {\n        this.exec("ROLLBACK");',
      replace: "try {",
    },
    {
      bug: "two can begin to write at once",
      file: "lib/storage/sqlite/database.ts",
      find: 'this.run("BEGIN IMMEDIATE");',
      replace: 'this.run("BEGIN");',
      tests: PROCESSES,
    },
    {
      bug: "nobody waits for another process that writes",
      file: "lib/storage/sqlite/database.ts",
      find: "PRAGMA busy_timeout = ${timeout}",
      replace: "PRAGMA busy_timeout = 0",
      tests: ["sqlite_file"],
    },
    {
      bug: "a log is left when the last one closes the file",
      file: "lib/storage/sqlite/database.ts",
      find: "if (!this.#readonly) this.#leaveLog();",
      replace: "",
      tests: ["sqlite_file"],
    },
    {
      bug: "create: false makes a file",
      file: "lib/storage/sqlite/database.ts",
      find: "(readonly || !create)",
      replace: "readonly",
    },
    {
      bug: "tables and triggers that are not ours are taken",
      file: "lib/storage/sqlite/database.ts",
      find: "if (fault !== undefined) throw this.damaged(fault);",
      replace: "",
      tests: DAMAGE,
    },
    {
      bug: "a file that could not be opened stays open",
      file: "lib/storage/sqlite/database.ts",
      find: "this.#sqlite.close();\n      throw error;",
      replace: "throw error;",
      tests: ["sqlite_file"],
    },
    {
      bug: "old tables are brought up to date twice",
      file: "lib/storage/sqlite/database.ts",
      find:
        'if (this.#number("user_version") === version) migrate(this, version);',
      replace: "migrate(this, version);",
      tests: ["sqlite_version1"],
    },
    {
      bug: "what was damaged in an old file counts as good in the new one",
      file: "lib/storage/sqlite/migrate.ts",
      find: "good ? sum : (sum ^ 1) >>> 0",
      replace: "sum",
      tests: ["sqlite_version1"],
    },
    {
      bug: "an old file that says that used numbers are free is changed",
      file: "lib/storage/sqlite/migrate.ts",
      find: "state.lastOid >= state.next",
      replace: "false",
      tests: ["sqlite_version1"],
    },

    // Between processes.
    {
      bug: "numbers are given back though somebody has taken others since",
      file: "lib/storage/sqlite_storage.ts",
      find: "if (state.next !== this.#freeEnd) return;",
      replace: "",
      tests: PROCESSES,
    },
    {
      bug: "what was committed before a pack's last step is not looked at",
      file: "lib/storage/sqlite/pack.ts",
      find: "    addChanges();\n    while (!step());\n",
      replace: "",
      tests: PROCESSES,
    },
    {
      bug: "a session older than what was forgotten finds objects missing",
      file: "lib/storage/sqlite_storage.ts",
      find: "if (tid < (isGone ? cut : forgotten)) {",
      replace: "if (isGone && tid < cut) {",
      tests: PROCESSES,
    },
    {
      bug: "a session older than what was forgotten goes on",
      file: "lib/storage/sqlite/pack.ts",
      find: "forgotten: last[",
      replace: "neverRead: last[",
      tests: PROCESSES,
    },
    {
      bug: "forgetting that an object was removed takes what was stored since",
      file: "lib/storage/sqlite/pack.ts",
      find: "if (tables.place(oid)?.tid !== tid) continue;",
      replace: "",
      tests: PROCESSES,
    },
    {
      bug: "what packs remove is forgotten at once",
      file: "lib/storage/sqlite/pack.ts",
      find: "7 * 24 * 60 * 60 * 1e6",
      replace: "0",
      tests: PROCESSES,
    },

    // Sessions and packs.
    {
      bug: "a pack drops what open sessions read",
      file: "lib/storage/sqlite_storage.ts",
      find: "if (!letsGo && tid < oldest) oldest = tid;",
      replace: "",
    },
    {
      bug: "a pack without a root drops everything",
      file: "lib/storage/sqlite/pack.ts",
      find: "if (oid === ROOT_OID && root === 1) throw noRoot();",
      replace: "",
      tests: DAMAGE,
    },
    {
      bug: "a session that was closed still holds its snapshot",
      file: "lib/storage/sqlite/view.ts",
      find: "this.#owner.forget(this);",
      replace: "",
    },
    {
      bug:
        "a session forgets what one pack removed when another removes nothing",
      file: "lib/storage/sqlite/view.ts",
      find: "this.knowsRemoved ||= oids.length > 0;",
      replace: "this.knowsRemoved = oids.length > 0;",
    },
    {
      bug: "a session does not learn what packs have removed",
      file: "lib/storage/sqlite/view.ts",
      find: "this.noteRemoved(news.removed);",
      replace: "",
    },
    {
      bug: "a session of the past commits",
      file: "lib/storage/session.ts",
      find: 'if (view.isPast) throw this.#refusal("commit to");',
      replace: "",
    },
    {
      bug: "a conflict is not seen",
      file: "lib/storage/sqlite_storage.ts",
      find: "if (changed.some(accessed)) {",
      replace: "if (changed === undefined) {",
    },
    {
      bug: "a number that somebody used without asking is given out again",
      file: "lib/storage/sqlite_storage.ts",
      find:
        "if (oid >= this.#free && oid < this.#freeEnd) this.#free = oid + 1;",
      replace: "",
      tests: ["sqlite_numbers"],
    },
    {
      bug: "the root's number is given out though there is a root",
      file: "lib/storage/sqlite_storage.ts",
      find: "if (records.has(ROOT_OID)) this.#rootIsFree = false;",
      replace: "",
      tests: ["sqlite_numbers"],
    },
    {
      bug: "a moment that a pack has dropped is read",
      file: "lib/storage/sqlite_storage.ts",
      find: "if (moment >= cut) return",
      replace: "if (true) return",
    },

    // Damage.
    {
      bug: "a database whose root is lost is opened",
      file: "lib/storage/sqlite/tables.ts",
      find: "if (state.root !== root) {",
      replace: "if (false) {",
      tests: DAMAGE,
    },
    {
      bug: "a lost transaction is not noticed when a session moves over it",
      file: "lib/storage/sqlite/tables.ts",
      find: 'if (row["before"] !== last) break;',
      replace: "",
      tests: DAMAGE,
    },
    {
      bug: "an object whose place is lost counts as never stored",
      file: "lib/storage/sqlite/tables.ts",
      find: "if (place === 0 && revision !== 0) throw this.#lost(oid);",
      replace: "",
      tests: DAMAGE,
    },
    {
      bug: "storing many objects does not notice that a place is lost",
      file: "lib/storage/sqlite/tables.ts",
      find: 'if (known !== undefined) throw this.#lost(known["oid"] as Oid);',
      replace: "",
      tests: DAMAGE,
    },
    {
      bug: "a revision does not say which one was before it",
      file: "lib/storage/sqlite/tables.ts",
      find: "before.get(oid) ?? 0, record",
      replace: "0, record",
    },
    {
      bug: "verify does not see that records have no transaction",
      file: "lib/storage/sqlite/verify.ts",
      find: "if (n !== found) {",
      replace: "if (false) {",
      tests: ["sqlite_verify", "sqlite_damage"],
    },
    {
      bug: "verify does not see that an object leads to another record",
      file: "lib/storage/sqlite/verify.ts",
      find: 'place["revision"] !== (removed ? 0 : id) ||',
      replace: "",
      tests: ["sqlite_verify", "sqlite_damage"],
    },
    {
      bug: "verify fails at a record that it has found damaged",
      file: "lib/storage/sqlite/verify.ts",
      find: "if (!isGood(row)) this.#unreadable.add(oid);",
      replace: "",
      tests: ["sqlite_verify"],
    },
  ],
};

export default list;
