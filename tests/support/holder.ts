/** Opens a journal for writing, says so, and waits until its input ends. */
import { FileStorage } from "../../lib/storage/file_storage.ts";

try {
  using storage = new FileStorage(Deno.args[0]!);
  console.log("open");
  await Deno.stdin.readable.getReader().read();
  void storage;
} catch (error) {
  const { name, message } = error as Error;
  console.log(`${name}: ${message}`);
}
