// Modules and catalogues that are fetched when they are first needed.
import { Outdated, get } from "./api.js";

export async function load(name) {
  try {
    return await import(`./${name}.js`);
  } catch (error) {
    await get("/api/session"); // throws if the server cannot be reached
    throw new Outdated(String(error)); // it has another version of the file by now
  }
}
