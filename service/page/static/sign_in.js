// Signing in: a token is sent once; from then on a cookie that no script can read tells who it is.
import { field, h } from "./dom.js";
import { post } from "./api.js";
import { t } from "./language.js";
import { Messages, trying } from "./messages.js";

export function signIn({ signedIn, note = null }) {
  const messages = new Messages();
  const token = h("input.mono", {
    type: "password", name: "token", required: true, autocomplete: "current-password", spellcheck: "false", dir: "ltr", maxlength: "200",
  });
  const submit = h("button.primary", { type: "submit" }, t("sign_in.go"));
  const form = h("form.stack", { "aria-label": t("sign_in.title") },
    field(t("sign_in.token"), token, { hint: t("sign_in.hint") }), submit);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    await trying(messages, async () => signedIn(await post("/api/session", { token: token.value.trim() })))();
    submit.disabled = false;
    if (token.isConnected) token.focus();
  });
  return {
    title: t("sign_in.title"),
    element: h("div.sign-in", {}, h("div.card.stack", {}, h("h1", { tabindex: "-1" }, t("sign_in.title")),
      h("p.lead", {}, t("sign_in.lead")), note ? h("p.note.is-queued", {}, note) : null, form, messages.element)),
    stop() {},
  };
}
