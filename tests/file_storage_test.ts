import { FileStorage } from "../lib/storage/file_storage.ts";
import { storageSuite } from "./storage_suite.ts";

storageSuite("FileStorage", () => {
  const directory = Deno.makeTempDirSync();
  const path = `${directory}/test.dhara`;
  let storage = new FileStorage(path);
  return {
    storage,
    reopen() {
      storage.close();
      return storage = new FileStorage(path);
    },
    dispose() {
      storage.close();
      Deno.removeSync(directory, { recursive: true });
    },
  };
});
