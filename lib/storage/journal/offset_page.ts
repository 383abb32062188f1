/**
 * One page of the index: where the newest entries of neighbouring objects are.
 *
 * @module
 */
import { getUint64, setUint64 } from "../../serialize/bytes.ts";

/** How many objects share a page. */
export const PAGE_ENTRIES = 1024;
/** How many bytes a page has. */
export const PAGE_BYTES = PAGE_ENTRIES * 8;
/** So many objects are kept as a list: a page has room for all that could be in it. */
const FEW = 32;

/**
 * An array of offsets, 0 where there is no object. It takes memory in
 * proportion to the objects in it, however far apart their numbers are.
 */
export class OffsetPage {
  #view: DataView | undefined;
  // A place and its offset, in turns.
  #few: number[] = [];

  /** An empty page, or one that is read from `PAGE_BYTES` bytes, which it keeps. */
  constructor(view?: DataView) {
    this.#view = view;
  }

  /** Returns the offset at a place, 0 if there is none. */
  get(place: number): number {
    if (this.#view !== undefined) return getUint64(this.#view, place * 8);
    const at = this.#find(place);
    return at < 0 ? 0 : this.#few[at + 1]!;
  }

  /** Sets the offset at a place. */
  set(place: number, offset: number): void {
    if (this.#view === undefined) {
      const at = this.#find(place);
      if (at >= 0) this.#few[at + 1] = offset;
      else if (this.#few.length < 2 * FEW) this.#few.push(place, offset);
      else this.#spread();
      if (this.#view === undefined) return;
    }
    setUint64(this.#view, place * 8, offset);
  }

  /** Returns the places that have an offset, the first one first. */
  places(): number[] {
    const places: number[] = [];
    if (this.#view === undefined) {
      for (let at = 0; at < this.#few.length; at += 2) {
        if (this.#few[at + 1] !== 0) places.push(this.#few[at]!);
      }
      return places.sort((a, b) => a - b);
    }
    for (let place = 0; place < PAGE_ENTRIES; place++) {
      if (getUint64(this.#view, place * 8) !== 0) places.push(place);
    }
    return places;
  }

  /** Writes the page's bytes, which must be zeros before. */
  copyTo(view: DataView, start: number): void {
    if (this.#view !== undefined) {
      const { buffer, byteOffset } = this.#view;
      new Uint8Array(view.buffer, view.byteOffset + start, PAGE_BYTES)
        .set(new Uint8Array(buffer, byteOffset, PAGE_BYTES));
      return;
    }
    for (let at = 0; at < this.#few.length; at += 2) {
      setUint64(view, start + this.#few[at]! * 8, this.#few[at + 1]!);
    }
  }

  #find(place: number): number {
    for (let at = 0; at < this.#few.length; at += 2) {
      if (this.#few[at] === place) return at;
    }
    return -1;
  }

  #spread(): void {
    const view = new DataView(new ArrayBuffer(PAGE_BYTES));
    this.copyTo(view, 0);
    this.#view = view;
    this.#few = [];
  }
}
