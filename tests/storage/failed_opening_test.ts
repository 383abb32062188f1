/** After an opening that failed, nobody holds the file: it can be opened at once. */
import { assertEquals, assertThrows } from "@std/assert";
import { DharaError } from "../../lib/errors.ts";
import { disk, type Files } from "../../lib/files/file.ts";
import {
  type FileStorageOptions,
  openOn,
} from "../../lib/storage/file_storage.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

/** Counts the files that are open, and lets one kind of operation fail. */
function watched(failing: string): { files: Files; open: () => number } {
  let open = 0;
  const fail = (what: string) => {
    if (what === failing) throw new Error("Input/output error");
  };
  return {
    open: () => open,
    files: {
      ...disk,
      open(path, options) {
        const file = disk.open(path, options);
        open++;
        const { close } = file;
        file.close = () => {
          open--;
          close.call(file);
        };
        for (
          const what of ["read", "write", "sync", "size", "truncate"] as const
        ) {
          // deno-lint-ignore no-explicit-any
          const act = file[what] as any;
          Object.assign(file, {
            // deno-lint-ignore no-explicit-any
            [what]: (...rest: any[]) => {
              fail(what);
              return act.apply(file, rest);
            },
          });
        }
        const { lock } = file;
        file.lock = () => {
          fail("lock");
          return lock.call(file);
        };
        return file;
      },
      identity(path) {
        fail("identity");
        return disk.identity(path);
      },
      syncDirectory(path) {
        fail("syncDirectory");
        disk.syncDirectory(path);
      },
    },
  };
}

/** What is wrong with the file, or with the disk. */
const CASES: [
  string,
  { change?: (bytes: Uint8Array) => Uint8Array; failing?: string } & {
    options?: FileStorageOptions;
  },
][] = [
  ["its last block is damaged", { change: flip(-3) }],
  ["its header is damaged", { change: flip(20) }],
  ["it is of another version", { change: (bytes) => bytes.fill(0, 8, 12) }],
  ["it is something else", { change: flip(0) }],
  ["its header is cut", { change: (bytes) => bytes.slice(0, 100).fill(1, 50) }],
  ["its index is damaged", {
    change: (bytes) => flip(indexOf(bytes) + 5000)(bytes),
    options: { indexInMemory: true },
  }],
  ["it was cut", { change: (bytes) => bytes.slice(0, 70_000) }],
  ["the tail cannot be saved", {
    change: flip(-3),
    options: { repair: true },
    failing: "write",
  }],
  ["the tail cannot be cut off", {
    change: flip(-3),
    options: { repair: true },
    failing: "truncate",
  }],
  ["a repair is for reading only", {
    options: { repair: true, readonly: true },
  }],
  ...["read", "size", "sync", "lock", "identity", "syncDirectory"].map((
    failing,
  ): (typeof CASES)[number] => [`${failing} fails`, { failing }]),
];

function flip(at: number): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => {
    bytes[at < 0 ? bytes.length + at : at]! ^= 0xff;
    return bytes;
  };
}

/** Where the index block is, which the header leads to. */
function indexOf(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Math.max(view.getUint32(516), view.getUint32(1028));
}

for (const [what, { change, failing = "", options = {} }] of CASES) {
  Deno.test(`a journal can be opened at once after an opening that failed: ${what}`, () => {
    const directory = Deno.makeTempDirSync();
    const path = `${directory}/test.dhara`;
    try {
      {
        using storage = openOn(disk, path);
        using session = storage.session();
        store(session, textRecord(0, "x".repeat(100_000)));
      }
      {
        using storage = openOn(disk, path);
        using session = storage.session();
        store(session, textRecord(0, "root"));
      }
      const right = Deno.readFileSync(path);
      if (change) Deno.writeFileSync(path, change(right.slice()));
      const { files, open } = watched(failing);
      for (let attempt = 0; attempt < 2; attempt++) {
        assertThrows(
          () => openOn(files, path, options),
          DharaError,
        );
        assertEquals(open(), 0);
      }
      Deno.writeFileSync(path, right);
      using storage = openOn(disk, path);
      using session = storage.session();
      assertEquals(textOf(session, 0), "root");
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}
