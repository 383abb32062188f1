/** What holds for every storage holds for one in a worker too, whose answers take time. */
import { BlockingStorage } from "../../mod.ts";
import { testStorage } from "../../lib/testing/mod.ts";
import type { DelayedOptions } from "../support/delayed_storage.ts";

const MODULE = import.meta.resolve("../support/delayed_storage.ts");

function open(options: DelayedOptions): Promise<BlockingStorage> {
  return BlockingStorage.open(MODULE, { options });
}

testStorage("an AsyncStorage in memory", async () => {
  const storage = await open({ delay: 0.5 });
  return { storage, dispose: () => storage.close() };
}, { remote: true });

testStorage("an AsyncStorage in a journal", async () => {
  const directory = await Deno.makeTempDir();
  const options = { path: `${directory}/test.dhara` };
  let storage = await open(options);
  return {
    storage,
    async reopen() {
      storage.close();
      return storage = await open(options);
    },
    async dispose() {
      storage.close();
      await Deno.remove(directory, { recursive: true });
    },
  };
}, { remote: true });
