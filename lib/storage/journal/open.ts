/**
 * Opens the journal in a file, or makes one, and sees to it that what was found
 * there is on the disk before it is counted on.
 *
 * @module
 */
import { StorageError } from "../../errors.ts";
import {
  type Files,
  type OpenFile,
  readFully,
  writeFully,
} from "../../files/file.ts";
import {
  checkMagic,
  decodeHeader,
  encodeHeader,
  type Header,
  HEADER_SIZE,
  isUnfinishedHeader,
} from "./format.ts";
import { Journal } from "./journal.ts";
import { damaged, type OpenOptions, Recovery } from "./recovery.ts";

/** Returns the journal of an open file, which is made one if it is empty. */
export function openJournal(
  files: Files,
  file: OpenFile,
  path: string,
  name: string,
  options: OpenOptions,
): Journal {
  const bytes = new Uint8Array(HEADER_SIZE);
  const start = bytes.subarray(0, readFully(file, bytes, 0));
  // After the pointers: so they lead to nothing that is not there yet, should
  // somebody be writing.
  const size = start.length < HEADER_SIZE ? start.length : file.size();
  if (size <= HEADER_SIZE && isUnfinishedHeader(start)) {
    const database = crypto.getRandomValues(new Uint8Array(16));
    const header = { database, packs: 0 };
    if (!options.readonly) createJournal(files, file, path, header);
    return new Journal(file, name, header, options);
  }
  checkMagic(start, name);
  const header = readHeader(start, name, options);
  if (header.packing && path.endsWith(".pack")) {
    throw new StorageError(
      `Cannot open ${name}: it is what a pack of ${
        path.slice(0, -5)
      } is writing, or was writing when it was interrupted; the next one makes it anew`,
    );
  }
  const recovery = new Recovery(files, file, path, name, header, options);
  const journal = recovery.run(start, size);
  // The program ended just when a pack had put the file in its place.
  if (header.packing && !options.readonly) journal.packed();
  if (options.readonly || !options.sync) return journal;
  // Who wrote it may have ended between a write, or the rename of a pack, and
  // the sync after it. From now on what is there is counted on.
  if (size === HEADER_SIZE) createJournal(files, file, path, header);
  else {
    file.sync();
    syncName(files, path);
  }
  return journal;
}

/** Writes the header of a new journal. */
export function createJournal(
  files: Files,
  file: OpenFile,
  path: string,
  header: Header,
): void {
  writeFully(file, encodeHeader(header), 0);
  file.sync();
  syncName(files, path);
}

/** Makes sure that the file's name is on the disk. */
function syncName(files: Files, path: string): void {
  try {
    files.syncDirectory(path);
  } catch (error) {
    // We may be allowed the file and not its directory.
    const allowed = !(error instanceof Deno.errors.NotCapable ||
      error instanceof Deno.errors.PermissionDenied);
    if (allowed) throw error;
  }
}

function readHeader(
  start: Uint8Array,
  name: string,
  options: OpenOptions,
): Header {
  if (start.length < HEADER_SIZE) {
    throw damaged(name, 0, "the header is cut off");
  }
  const header = decodeHeader(start);
  if (header.good) return header;
  const error = damaged(
    name,
    0,
    "the header's checksum is wrong; --repair (or repair: true) makes a new one",
  );
  // Once the rest is good, the repair writes the header.
  if (!options.repair) throw error;
  return header;
}
