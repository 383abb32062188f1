import type { MutantList } from "./mutant.ts";

const list: MutantList = {
  part: "storages in workers",
  tests: ["blocking_storage", "blocking_storage_trouble"],
  mutants: [
    {
      bug: "a worker that is ended from within is noticed by the time limit",
      file: "lib/client/shared_loader.ts",
      find:
        'addEventListener("unload", () => end("it was ended from within"));',
      replace: "",
    },
    {
      bug: "a worker's last words are lost if a promise was rejected",
      file: "lib/client/shared_loader.ts",
      find:
        'addEventListener("unhandledrejection", ({ reason }) => end(reason));',
      replace: "",
    },
    {
      bug: "the upper half of a number that is asked about is lost",
      file: "lib/client/shared_loader.ts",
      find: "control[Slot.high] = Math.floor(number / 2 ** 32);",
      replace: "",
    },
    {
      bug: "a class that extends one of ours is not known as a kind of it",
      file: "lib/client/shared_loader.ts",
      find: "names.push(type.constructor.name);",
      replace: "",
    },
    {
      bug: "an answer that has no room is cut",
      file: "lib/client/shared_loader.ts",
      find: "      kept = { parts, outcome };\n      return Outcome.room;",
      replace: "      return outcome;",
    },
    {
      bug: "the worker does not learn of larger memory",
      file: "lib/client/shared_call.ts",
      find: "    this.#data = data;\n    this.#moved = true;",
      replace: "    this.#data = data;",
    },
    {
      bug: "what the worker answers is looked for elsewhere after it has asked",
      file: "lib/client/shared_call.ts",
      find: 'if (this.#asking) throw new Error("it is busy");',
      replace: "",
    },
    {
      bug: "an error of accessed() passes for a conflict",
      file: "lib/client/storage_worker.ts",
      find: "if (failure !== undefined) throw failure.error;",
      replace: "",
    },
    {
      bug: "a conflict that crosses forgets its objects",
      file: "lib/client/told_errors.ts",
      find: "const oids = numbers(details.oids);",
      replace: "const oids: number[] = [];",
    },
    {
      bug: "a pack must be as quick as any other answer",
      file: "lib/client/storage_program.ts",
      find: 'if (request.what === "pack") return (await working)();',
      replace: "",
    },
    {
      bug: "a storage in a worker is not closed",
      file: "lib/client/storage_program.ts",
      find: "await storage.close();",
      replace: "",
    },
    {
      bug: "a session in a worker is not ended",
      file: "lib/client/storage_program.ts",
      find: "sessions.delete(target);\n        await session.close();",
      replace: "sessions.delete(target);",
    },
    {
      bug: "a session that waits for an answer still is asked for more",
      file: "lib/client/blocking_storage.ts",
      find: "if (error instanceof NoAnswerError) this.#lost = error;",
      replace: "",
    },
    {
      bug: "what a storage cannot keep is dropped without a word",
      file: "lib/client/blocking_storage.ts",
      find: "if (!asked || this.features[name]) continue;",
      replace: "continue;",
    },
    {
      bug: "the transactions of a backend have no time",
      file: "lib/storage/backed_storage.ts",
      find: "const tid = nextTid(backend.tid);",
      replace: "const tid = backend.tid + 1;",
      tests: ["memory_storage"],
    },
  ],
};

export default list;
