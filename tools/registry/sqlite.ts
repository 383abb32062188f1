/** The part of `@db/sqlite` that Dhara uses, over `node:sqlite`. */
export { Database } from "../../lib/storage/sqlite/node.ts";
