import type { MutantList } from "./mutant.ts";

const list: MutantList = {
  part: "sessions and memory storage",
  tests: ["memory_storage", "storage_property"],
  mutants: [
    {
      bug: "the time goes backwards with the clock",
      file: "lib/storage/local_session.ts",
      find: "Math.max(now(), last + 1)",
      replace: "now()",
    },
    {
      bug: "a session is not forgotten when it is closed",
      file: "lib/storage/local_session.ts",
      find: "this.#sessions.forget(this);",
      replace: "",
    },
  ],
};

export default list;
