import type { MutantList } from "./mutant.ts";

const list: MutantList = {
  part: "journal",
  tests: [],
  mutants: [],
};

export default list;
