// Stands in for localStorage where the browser keeps nothing: the same methods, until the page closes.

export class Memory {
  #items = new Map();

  get length() {
    return this.#items.size;
  }

  key(place) {
    return [...this.#items.keys()][place] ?? null;
  }

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#items.set(key, value);
  }

  removeItem(key) {
    this.#items.delete(key);
  }
}

/** localStorage, or a `Memory` where it cannot be written. */
export function storage() {
  try {
    localStorage.setItem("lowbit.probe", "");
    localStorage.removeItem("lowbit.probe");
    return localStorage;
  } catch {
    return new Memory();
  }
}
