import type { MutantList } from "./mutant.ts";

const list: MutantList = {
  part: "maintenance",
  tests: [],
  mutants: [],
};

export default list;
