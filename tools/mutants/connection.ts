import type { MutantList } from "./mutant.ts";

const list: MutantList = {
  part: "connection",
  tests: [],
  mutants: [],
};

export default list;
