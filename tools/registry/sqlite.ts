/** The part of `@db/sqlite` that Dhara uses, over `node:sqlite`. */
export { DatabaseSync as Database } from "node:sqlite";
