/** The storages that docs/storages.md leads through writing. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  BlockingStorage,
  Connection,
  ServerUnavailableError,
  StorageError,
} from "@dhara/dhara";
import { testStorage } from "@dhara/dhara/testing";
import { FolderStorage } from "../../examples/folder_storage.ts";
import { inDirectory } from "../support/dhara.ts";

testStorage("FolderStorage", () => {
  const path = Deno.makeTempDirSync();
  let storage = new FolderStorage(path);
  return {
    storage,
    reopen() {
      storage.close();
      return storage = new FolderStorage(path);
    },
    dispose() {
      storage.close();
      Deno.removeSync(path, { recursive: true });
    },
  };
});

/** An object store in another thread. */
async function startBucket(): Promise<{ url: string; stop(): void }> {
  const worker = new Worker(
    import.meta.resolve("../support/bucket_worker.ts"),
    {
      type: "module",
    },
  );
  const { data } = await new Promise<MessageEvent<number>>((resolve) => {
    worker.onmessage = resolve;
  });
  return {
    url: `http://127.0.0.1:${data}/log`,
    stop: () => worker.terminate(),
  };
}

function openBucket(url: string): Promise<BlockingStorage> {
  const module = import.meta.resolve("../../examples/bucket_storage.ts");
  return BlockingStorage.open(module, { options: { url } });
}

testStorage("a storage in a bucket", async () => {
  const bucket = await startBucket();
  let storage = await openBucket(bucket.url);
  return {
    storage,
    async reopen() {
      storage.close();
      return storage = await openBucket(bucket.url);
    },
    dispose() {
      storage.close();
      bucket.stop();
    },
  };
}, { remote: true });

Deno.test("programs that share a bucket see each other's commits", async () => {
  const bucket = await startBucket();
  try {
    using one = await openBucket(bucket.url);
    using two = await openBucket(bucket.url);
    using ada = new Connection(one);
    using bob = new Connection(two);
    for (let i = 0; i < 10; i++) {
      for (const connection of [ada, bob]) {
        connection.transact(() => {
          const { root } = connection;
          root["count"] = (root["count"] as number ?? 0) + 1;
        });
      }
    }
    ada.abort();
    assertEquals(ada.root["count"], 20);
  } finally {
    bucket.stop();
  }
});

Deno.test("a bucket that is not there is an error that says so", async () => {
  using storage = await openBucket("http://127.0.0.1:1/log");
  assertThrows(
    () => storage.session(),
    ServerUnavailableError,
    "Cannot reach http://127.0.0.1:1/log/0",
  );
});

Deno.test("a folder with a damaged transaction is not opened", async () => {
  await inDirectory((path) => {
    {
      using storage = new FolderStorage(path);
      using connection = new Connection(storage);
      connection.root["x"] = 1;
      connection.commit();
    }
    const [{ name }] = [...Deno.readDirSync(path)] as [Deno.DirEntry];
    Deno.truncateSync(`${path}/${name}`, 20);
    assertThrows(() => new FolderStorage(path), StorageError, "is damaged");
    return Promise.resolve();
  });
});
