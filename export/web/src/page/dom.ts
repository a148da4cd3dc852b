/** Small helpers for the page's elements. */

/** The element of that id, of that kind. */
export function element<T extends HTMLElement>(
  id: string,
  kind: new () => T = HTMLElement as new () => T,
): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

/** A new element with attributes and children; text stays text. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Call `take` with what is dropped on the element. */
export function onDrop(target: HTMLElement, take: (event: DataTransfer) => Promise<void>): void {
  target.addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("over");
  });
  target.addEventListener("dragleave", () => target.classList.remove("over"));
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("over");
    if (event.dataTransfer) void take(event.dataTransfer);
  });
}

/** The files dropped, and those right inside folders dropped. */
export async function droppedFiles(data: DataTransfer): Promise<File[]> {
  const entries = [...data.items].flatMap((item) => item.webkitGetAsEntry?.() ?? []);
  if (entries.length === 0) return [...data.files];
  const files: File[] = [];
  for (const entry of entries) {
    const inside = entry.isDirectory ? await children(entry as FileSystemDirectoryEntry) : [entry];
    for (const one of inside) {
      if (one.isFile)
        files.push(
          await new Promise((resolve, reject) =>
            (one as FileSystemFileEntry).file(resolve, reject),
          ),
        );
    }
  }
  return files;
}

function children(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  return new Promise((resolve, reject) => folder.createReader().readEntries(resolve, reject));
}
