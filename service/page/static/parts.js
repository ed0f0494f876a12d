// What several views are made of: a table that becomes a list of cards on a phone, pages, a head, a question.
import { h } from "./dom.js";
import { t } from "./language.js";
import { region } from "./live.js";
import { here, href } from "./router.js";

export const heading = (title, ...actions) =>
  h("header.view-head", {}, h("h1", { tabindex: "-1" }, title), h("div.actions", {}, ...actions));

// `columns`: [label, class]; `rows`: elements made by row(). The roles stay when CSS lays it out as cards.
export function table(label, columns, body, kind = "table") {
  return h(`table.${kind}`, { role: "table", "aria-label": label },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(([name, kind]) =>
      h(`th${kind ? `.${kind}` : ""}`, { role: "columnheader", scope: "col" }, name)))),
    body);
}

export const tableBody = (...rows) => h("tbody", { role: "rowgroup" }, ...rows);

export const row = (columns, cells) => h("tr", { role: "row" }, cells.map((cell, index) =>
  h(`td${columns[index][1] ? `.${columns[index][1]}` : ""}`, { role: "cell", "data-label": columns[index][0] }, cell)));

// Links to the first and the next page of a list by keyset; back is the browser's.
export function pages(next_after) {
  const { path, query } = here();
  if (!next_after && !query.after) return null;
  return h("nav.pages", { "aria-label": t("pages.label") },
    query.after ? h("a.button.plain", { href: href(path.join("/"), { ...query, after: "" }) }, t("pages.first")) : null,
    next_after ? h("a.button.plain", { href: href(path.join("/"), { ...query, after: next_after }) }, t("pages.next")) : null);
}

// A form that filters the view: it goes into the address when its button is pressed.
export function filterForm(label, fields, take, clear = null) {
  const form = h("form.filter", { "aria-label": label }, fields,
    h("div.actions", {}, h("button.plain", { type: "submit" }, t("filter.apply")), clear));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    take(Object.fromEntries(new FormData(form)));
  });
  return form;
}

// A native dialog: Escape closes it, the focus goes back to where it came from.
export function dialog(title, ...children) {
  const from = document.activeElement;
  const heading = h("h2", { id: "dialog-title" }, title);
  const element = h("dialog", { "aria-labelledby": "dialog-title" }, heading, ...children, region());
  element.addEventListener("close", () => {
    element.remove();
    if (from?.isConnected) from.focus();
  });
  document.body.append(element);
  element.showModal();
  return element;
}

// A dialog belongs to the view that has opened it.
export const closeDialogs = () => document.querySelectorAll("dialog[open]").forEach((open) => open.close());

// Asks once more. → true or false.
export function ask(title, text, yes) {
  return new Promise((resolve) => {
    let answer = false;
    const close = (value) => () => {
      answer = value;
      box.close();
    };
    const box = dialog(title, h("p", {}, text), h("div.actions.end", {},
      h("button.plain", { type: "button", click: close(false) }, t("ask.no")),
      h("button.danger", { type: "button", click: close(true) }, yes)));
    box.addEventListener("close", () => resolve(answer));
  });
}

// Opens a link that is good for some minutes, in a tab that is made at once: browsers refuse one that comes later.
export async function openLink(ask) {
  const tab = window.open("", "_blank");
  try {
    const { url } = await ask();
    if (tab) {
      tab.opener = null;
      tab.location.replace(url);
    } else {
      location.assign(url);
    }
  } catch (error) {
    tab?.close();
    throw error;
  }
}
