// The page. It asks the server who is signed in, and shows the view that the address names.
//
// Roles and names that stay (English; Hebrew is in he.js under the same keys):
//   sign in    textbox "Access token" (a password field: by label) · button "Sign in"
//   header     navigation "Main": links "Receipts", "Mailbox", "Jobs", "Workers" (operator) · group "Account" (summary):
//              buttons "Sign out", "Sign out everywhere" · button "עברית" / "English" · link "Skip to the content"
//   receipts   heading "Receipts" · form "Filter receipts": "From", "To", button "Show", "Clear" · buttons "Export", "Delete all"
//              table "Receipts"; button "Open file of VENDOR" · navigation "Pages": links "First page", "Next page"
//   dialog     "Delete all receipts?": buttons "Continue", "Keep them"; then textbox "Type DELETE", button "Delete all"
//   progress   region "Progress of KIND": progressbar "Progress of KIND"; buttons "Pause", "Resume", "Cancel job", "Reset",
//              "Download file", "Undo: bring them back"; links "Start again for the rest", "Start a new one"
//   mailbox    button "Connect a mailbox" · dialog "Connect a mailbox" · region "Mailbox ACCOUNT": form "Read ACCOUNT":
//              combobox "Which mails", button "Start"; buttons "Test", "Disconnect" · region "What became of each mail"
//   jobs       form "Filter jobs": "Status", "Kind", "Day", "Business" · table "Jobs" · region "Need attention" · link "Start a job"
//   a job      region "Why" · region "Timeline": table "Timeline", img "N segments over time" · link "All jobs"
//   everywhere status (the live region; messages are said there too) · button "Close" of a message
import { Refused, drawFor, get, remove, session as sessions } from "./api.js";
import { choose, speak, t } from "./language.js";
import { failed, loading } from "./messages.js";
import { load } from "./modules.js";
import { closeDialogs } from "./parts.js";
import { here, href } from "./router.js";
import { shell } from "./shell.js";
import { signIn } from "./sign_in.js";

const NOBODY = { signed_in: false, token_id: null };
const FIRST = { session: NOBODY, kinds: new Map(), lastList: "#/jobs" };
const state = { ...FIRST, view: null, note: null, shows: 0 };
const otherTabs = new BroadcastChannel("longhaul.session"); // told when somebody signs in or out

const VIEWS = ["receipts", "mailbox", "jobs", "workers", "start"];

// What makes a view stands in a module of its own, under its own name, which is fetched when it is first looked at.
async function viewOf([first, second]) {
  const name = first === "jobs" && second ? "job" : first;
  return (await load(name))[name];
}

const home = () => (state.session.role === "operator" ? "jobs" : "receipts");

// Shows the view of the address. `focus`: the reader came here by a link, so a screen reader is taken along.
async function show(focus) {
  state.view?.stop();
  closeDialogs();
  const { path, query } = here();
  if (state.session.signed_in && !VIEWS.includes(path[0])) return location.replace(href(home()));
  const mine = (state.shows += 1);
  document.querySelector("main")?.replaceChildren(loading()); // what stood there has ended
  const make = state.session.signed_in ? await viewOf(path).catch(broken) : asked;
  if (mine !== state.shows) return; // somebody has gone on meanwhile
  if (path[0] === "jobs" && !path[1]) state.lastList = location.hash;
  const frame = shell({ session: state.session, path, speak: switchTo, signOut });
  const context = { path, query, session: state.session, kinds: state.kinds, lastList: state.lastList };
  const { title, view } = make(context);
  state.view = view;
  frame.main.append(view.element);
  document.title = t("title", { view: title });
  document.getElementById("page").replaceChildren(frame.element);
  if (focus) (frame.main.querySelector("h1") ?? frame.main).focus({ preventScroll: true });
  if (focus) scrollTo(0, 0);
}

function asked() {
  const view = signIn({ signedIn: enter, note: state.note });
  return { title: view.title, view };
}

// In the place of a view that could not be fetched.
const broken = (error) => () =>
  ({ title: t("error.title"), view: { element: failed(error, () => location.reload()), stop() {} } });

async function switchTo(language) {
  await choose(language);
  await show(false);
  document.querySelector(".language").focus();
}

async function signedIn(session) {
  drawFor(session.token_id);
  const { kinds } = await get("/api/kinds");
  Object.assign(state, { session, note: null, kinds: new Map(kinds.map((kind) => [kind.job_type, kind])) });
  await show(true);
}

async function enter(session) {
  otherTabs.postMessage("changed");
  await signedIn(session);
}

async function signOut(everywhere) {
  try {
    await remove(`/api/session${everywhere ? "?everywhere=true" : ""}`);
  } catch (error) {
    if (!(error instanceof Refused && error.status === 401)) throw error; // who is not out must not be told so
  }
  otherTabs.postMessage("changed");
  history.replaceState(null, "", `${location.pathname}${location.search}#/`); // whoever is next begins anew
  ended(null);
}

function ended(note) {
  if (!state.session.signed_in) return;
  drawFor(null);
  Object.assign(state, { ...FIRST, note });
  show(true);
}

// The cookie is the browser's: in another tab somebody may have signed out, or in as somebody else.
async function lookWhoIsIn() {
  const now = await get("/api/session").catch(() => null);
  if (now && now.token_id !== state.session.token_id) location.reload();
}

async function begin(who = get("/api/session")) {
  try {
    const session = await who;
    if (session.signed_in) await signedIn(session);
    else show(false);
  } catch (error) {
    document.getElementById("page").replaceChildren(failed(error, () => begin()));
  }
}

const who = get("/api/session"); // while the sentences are fetched
who.catch(() => {}); // it is waited for later
try {
  await speak();
} catch (error) {
  document.querySelector(".late").classList.add("now"); // without sentences, that is all we can say
  throw error;
}
addEventListener("hashchange", () => show(true));
sessions.addEventListener("ended", () => ended(t("sign_in.ended")));
// Out of the back/forward cache comes what was true then, perhaps of somebody who has signed out.
addEventListener("pageshow", (event) => event.persisted && location.reload());
otherTabs.addEventListener("message", lookWhoIsIn);
document.addEventListener("visibilitychange", () => document.hidden || lookWhoIsIn());
begin(who);
