// Whether the server answers as it should, told in one place.
import { announce } from "./live.js";
import { h } from "./dom.js";
import { t } from "./language.js";
import { icon } from "./icons.js";

let banner = null;

export function reached() {
  if (!banner) return;
  banner.remove();
  banner = null;
  announce(t("reach.back"));
}

// `sentence`: what is wrong, a text or an element.
export function trouble(sentence) {
  const next = h("p.banner", {}, icon("stuck"), h("span", {}, sentence));
  if (banner?.isConnected && banner.textContent === next.textContent) return;
  banner?.remove();
  banner = next;
  document.querySelector("main")?.append(banner);
  announce(banner.textContent);
}
