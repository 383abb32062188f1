/** Backs up a file to a directory, again and again until it is killed, and prints each result. */
import { backup } from "../../lib/maintenance/backup.ts";

const [path, directory] = Deno.args;
for (let i = 0;; i++) {
  const { entry } = await backup(path!, {
    to: directory!,
    keepLast: 2,
    full: i % 4 === 3,
    compress: i % 3 !== 0,
  });
  if (entry === undefined) continue;
  console.log(JSON.stringify([entry.firstTid, entry.lastTid]));
}
