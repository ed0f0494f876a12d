// Where the reader is: the address after #, so that reload, back and a copied link lead to the same view and filter.
import { address } from "./api.js";

export const href = (path, query = {}) => `#/${address(path, query)}`;

// "#/jobs?status=failed" → {path: ["jobs"], query: {status: "failed"}}
export function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean), query: Object.fromEntries(new URLSearchParams(query)) };
}

export function go(path, query = {}) {
  location.hash = href(path, query);
}

// The same view with another filter; what is empty falls out, and a list begins at its first page again.
export function filter(query) {
  const { path, query: before } = here();
  go(path.join("/"), { ...before, after: "", ...query });
}
