/**
 * Where each object's newest entry is, wholly in memory.
 *
 * @module
 */
import type { Oid } from "../../serialize/record.ts";
import { OffsetPage, PAGE_ENTRIES } from "./offset_page.ts";

/** An array of offsets by object number, in the pages of the index. */
export class OffsetTable {
  #pages = new Map<number, OffsetPage>();
  #objects = 0;
  // The page used last: neighbours come together.
  #number = -1;
  #page: OffsetPage | undefined;

  /** How many objects have an offset. */
  get objects(): number {
    return this.#objects;
  }

  /** The numbers of the pages that have one. */
  get pages(): Iterable<number> {
    return this.#pages.keys();
  }

  /** Returns an object's offset, 0 if there is none. */
  get(oid: Oid): number {
    const page = this.#find(Math.floor(oid / PAGE_ENTRIES));
    return page?.get(oid % PAGE_ENTRIES) ?? 0;
  }

  /** Sets an object's offset. */
  set(oid: Oid, offset: number): void {
    const number = Math.floor(oid / PAGE_ENTRIES);
    const place = oid % PAGE_ENTRIES;
    let page = this.#find(number);
    if (page === undefined) {
      page = this.#page = new OffsetPage();
      this.#pages.set(number, page);
    }
    if (page.get(place) === 0) this.#objects++;
    page.set(place, offset);
  }

  #find(number: number): OffsetPage | undefined {
    if (number !== this.#number) {
      this.#number = number;
      this.#page = this.#pages.get(number);
    }
    return this.#page;
  }
}
