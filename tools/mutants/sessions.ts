import type { MutantList } from "./mutant.ts";

const list: MutantList = {
  part: "sessions",
  tests: [],
  mutants: [],
};

export default list;
