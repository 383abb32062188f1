import type { MutantList } from "./mutant.ts";

const list: MutantList = {
  part: "sqlite",
  tests: [],
  mutants: [],
};

export default list;
