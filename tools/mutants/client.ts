import type { MutantList } from "./mutant.ts";

const list: MutantList = {
  part: "client",
  tests: [],
  mutants: [],
};

export default list;
