import type { MutantList } from "./mutant.ts";

const list: MutantList = {
  part: "server",
  tests: [],
  mutants: [],
};

export default list;
