/** Repairs a journal, slowly: each write is followed by a pause, so that it can be killed in between. */
import { disk, type Files } from "../../lib/files/file.ts";
import { openOn } from "../../lib/storage/file_storage.ts";

const [path, pause] = Deno.args;

function wait(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(pause));
}

const slow: Files = {
  ...disk,
  open(path, options) {
    const file = disk.open(path, options);
    const { write, truncate, sync } = file;
    return Object.assign(file, {
      write: (bytes: Uint8Array, offset: number) => {
        wait();
        return write.call(file, bytes.subarray(0, 60_000), offset);
      },
      truncate: (size: number) => {
        wait();
        truncate.call(file, size);
      },
      sync: () => {
        wait();
        sync.call(file);
      },
    });
  },
};

console.log("begins");
openOn(slow, path!, { repair: true }).close();
console.log("done");
