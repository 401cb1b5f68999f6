// Renews the page in place. Without it the browser loads the page again; nothing is lost.
(() => {
  const every = 2000;
  let pressed = false; // a link that is replaced between press and release is not followed
  addEventListener("pointerdown", () => { pressed = true; });
  ["pointerup", "pointercancel", "blur"].forEach((end) => addEventListener(end, () => { pressed = false; }));
  const open = () => [...document.querySelectorAll("details[open]")].map((d) => d.id);
  const renew = async () => {
    const answer = await fetch(location.href, { cache: "no-store" });
    const text = await answer.text();
    const next = new DOMParser().parseFromString(text, "text/html");
    const page = next.getElementById("page");
    if (!page || pressed) return;
    const kept = open();
    const focused = document.activeElement && document.activeElement.getAttribute("href");
    document.getElementById("page").replaceChildren(...page.childNodes);
    document.title = next.title;
    kept.forEach((id) => { const d = document.getElementById(id); if (d) d.open = true; });
    if (focused) {
      const link = [...document.links].find((l) => l.getAttribute("href") === focused);
      if (link) link.focus({ preventScroll: true });
    }
  };
  const say = (text) => {
    let note = document.getElementById("offline");
    if (!note) {
      note = document.createElement("p");
      note.id = "offline";
      note.className = "notice";
      note.setAttribute("role", "status");
      document.getElementById("page").prepend(note);
    }
    note.textContent = text;
  };
  const turn = () => {
    const busy = document.hidden || pressed || !getSelection().isCollapsed;
    (busy ? Promise.resolve() : renew())
      .catch(() => say("This worker does not answer: what is shown is as it was."))
      .finally(() => setTimeout(turn, every));
  };
  setTimeout(turn, every);
})();
