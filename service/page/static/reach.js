// Whether the server can be reached, told in one place.
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

export function unreached() {
  if (banner?.isConnected) return;
  banner = h("p.banner", {}, icon("stuck"), h("span", {}, t("reach.gone")));
  document.querySelector("main")?.append(banner);
  announce(t("reach.gone"));
}
