// What stands around each view: the name, the ways, who is signed in, the language.
import { bdi, h } from "./dom.js";
import { Messages, trying } from "./messages.js";
import { LANGUAGES, language, t, word } from "./language.js";

const VIEWS = { receipts: ["business"], mailbox: ["business"], jobs: ["business", "operator"], workers: ["operator"] };

export function shell({ session, path, speak, signOut }) {
  const messages = new Messages(); // of what the header does
  const main = h("main", { id: "main", tabindex: "-1" }, messages.element);
  const skip = h("a.skip", { href: "#main" }, t("skip"));
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // the address after # says which view it is
    main.focus();
  });
  const element = h("div.shell", {}, skip, h("header.top", {}, h("div.top-inner", {},
    h("a.brand", { href: "#/" }, h("span.brand-mark", { "aria-hidden": "true" }), "Longhaul"),
    session.signed_in ? ways(session, path) : null,
    h("div.who", {}, session.signed_in ? [who(session), account(trying(messages, signOut))] : null, languages(trying(messages, speak))))), main);
  return { element, main };
}

function ways(session, path) {
  const role = session.role === "operator" ? "operator" : "business";
  return h("nav.ways", { "aria-label": t("nav.label") }, h("ul", {}, Object.entries(VIEWS).filter(([, roles]) => roles.includes(role)).map(([name]) =>
    h("li", {}, h("a", { href: `#/${name}`, "aria-current": path[0] === name ? "page" : null }, t(`nav.${name}`))))));
}

const who = (session) => h("span.business", {}, session.business_name ? bdi(session.business_name) : t("who.all"), " ",
  h("span.quiet", {}, word("role", session.role)));

function account(signOut) {
  const menu = h("details.menu", {}, h("summary", {}, t("sign_out.menu")), h("div.menu-items", {},
    h("button.link", { type: "button", click: () => signOut(false) }, t("sign_out.here")),
    h("button.link", { type: "button", click: () => signOut(true) }, t("sign_out.everywhere"))));
  menu.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget && !menu.contains(relatedTarget)) menu.open = false;
  });
  menu.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.firstElementChild.focus();
  });
  return menu;
}

// The other language, in its own words.
function languages(speak) {
  const other = Object.keys(LANGUAGES).find((tag) => tag !== language());
  return h("button.link.language", { type: "button", lang: other, dir: LANGUAGES[other].dir, click: () => speak(other) }, LANGUAGES[other].name);
}
