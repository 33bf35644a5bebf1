"use strict";
// Shows whether mail is moving. Polls /v1/status every two seconds, /v1/queue,
// /v1/limits and /v1/nodes every four; keeps two minutes of rates. Text of strangers
// goes in as text only.
(function () {
  const $ = (id) => document.getElementById(id);
  const samples = []; // {at: ms of the node's clock, in, out, defer, fail}
  const kept = 60;
  let status = null, lanes = null, failures = 0;

  const num = (n) => Math.round(n).toLocaleString("en");
  const rate = (r) => r === null ? "–" : r >= 100 ? num(r) : r >= 10 ? r.toFixed(0) : r === 0 ? "0" : r < 0.1 ? "< 0.1" : r.toFixed(1);
  const text = (id, s) => { const e = $(id); if (e.textContent !== s) e.textContent = s; };

  function span(s) {
    s = Math.max(0, Math.floor(s));
    if (s < 60) return s + "s";
    if (s < 3600) return Math.floor(s / 60) + "m";
    if (s < 172800) return Math.floor(s / 3600) + "h";
    return Math.floor(s / 86400) + "d";
  }
  function ago(t, now) {
    if (!t) return "";
    const s = (now - Date.parse(t)) / 1000;
    return s < 1 ? "now" : span(s) + " ago";
  }
  function until(t, now) {
    if (!t) return "";
    const s = (Date.parse(t) - now) / 1000;
    return s < 1 ? "now" : "in " + span(s);
  }
  function bytes(n) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
    return (n >= 10 || i === 0 ? n.toFixed(0) : n.toFixed(1)) + " " + units[i];
  }

  function sample(st) {
    const i = st.stats.smtp || {}, o = st.stats.delivery || {};
    const s = { at: Date.parse(st.now), in: i.accepted || 0, out: o.delivered || 0, defer: o.deferred || 0, fail: o.failed || 0 };
    const last = samples[samples.length - 1];
    // Smaller counters: the node was started anew. A long gap: the page was hidden.
    // Either way the past says nothing about the last ten seconds.
    if (last && (s.at <= last.at || s.at - last.at > 15000 || s.in < last.in || s.out < last.out)) samples.length = 0;
    samples.push(s);
    if (samples.length > kept) samples.shift();
  }
  // The rate over the last ten seconds or so; null before there are two samples.
  function rateOf(key) {
    if (samples.length < 2) return null;
    const b = samples[samples.length - 1], a = samples[Math.max(0, samples.length - 6)];
    return (b[key] - a[key]) / ((b.at - a.at) / 1000);
  }
  function line(id, key) {
    const rs = [];
    for (let i = 1; i < samples.length; i++) rs.push((samples[i][key] - samples[i - 1][key]) / ((samples[i].at - samples[i - 1].at) / 1000));
    const top = Math.max(1, ...rs);
    const x = (i) => 120 - (rs.length - 1 - i) * (120 / (kept - 2));
    $(id).firstElementChild.setAttribute("points", rs.map((r, i) => x(i).toFixed(1) + "," + (26.5 - 25 * r / top).toFixed(1)).join(" "));
  }

  function verdict() {
    const v = (cls, s) => { text("verdict", s); $("verdict").className = cls; document.title = (cls === "bad" ? "⚠ " : "") + "Tarishi " + (status ? status.node : ""); };
    if (failures > 1) return v("bad", "The node does not answer. What is shown below is old.");
    if (!status) return;
    if (!status.ready) return v("bad", "Not accepting mail:");
    const i = rateOf("in"), o = rateOf("out");
    const q = lanes ? lanes.ready + lanes.waiting : null;
    if (i === null || q === null) return v("quiet", "Ready. Measuring…");
    if (o > 0) return v("good", "Mail is moving: " + rate(i) + " per second in, " + rate(o) + " out.");
    if (q === 0 && i > 0) return v("good", "Mail comes in; none of it waits.");
    if (q === 0) return v("good", lanes.held ? "Nothing to send. " + num(lanes.held) + " held." : "Nothing to send. The queue is empty.");
    if (!status.stats.delivery) return v("quiet", num(q) + " queued. This node does not deliver; see those that do.");
    let next = null;
    for (const l of lanes.lanes) if (l.next_due && (next === null || Date.parse(l.next_due) < next)) next = Date.parse(l.next_due);
    const now = Date.parse(status.now);
    if (lanes.active > 0) return v("warn", num(lanes.active) + " being sent, none delivered in the last ten seconds.");
    if (lanes.ready === 0 && next !== null && next > now) return v("quiet", num(q) + (q === 1 ? " waits" : " wait") + " for a later attempt; the next is due in " + span((next - now) / 1000) + ".");
    if (rateOf("defer") > 0) return v("warn", num(q) + " queued; every attempt of the last ten seconds was put off.");
    v("warn", "Mail is queued and none was delivered in the last ten seconds.");
  }

  function showStatus() {
    const st = status, s = st.stats, o = s.delivery, i = s.smtp, q = s.queue;
    text("node", st.node);
    text("facts", ["version " + st.version, "up " + span(st.uptime_seconds), st.roles.join(", ")].filter(Boolean).join(" · "));
    const list = $("reasons");
    list.replaceChildren(...st.reasons.map((r) => { const li = document.createElement("li"); li.textContent = r; return li; }));
    list.hidden = st.reasons.length === 0;
    const card = (name, key, part, total) => {
      const e = $(name + "-rate");
      if (!part) { e.textContent = "–"; text(name + "-total", "not on this node"); return; }
      const unit = document.createElement("small");
      unit.textContent = " /s";
      e.replaceChildren(rate(rateOf(key)), unit);
      text(name + "-total", num(total) + " since the start");
    };
    card("in", "in", i, i && i.accepted);
    card("out", "out", o, o && o.delivered);
    card("defer", "defer", o, o && o.deferred);
    card("fail", "fail", o, o && o.failed);
    line("in-line", "in");
    line("out-line", "out");
    const conns = [i && num(i.connections) + " in", o && num(o.connections) + " out"].filter(Boolean);
    text("conns", conns.join(" · ") || "–");
    text("conns-sub", q ? bytes(q.bytes) + (q.max_bytes ? " of " + bytes(q.max_bytes) : "") + " stored" : "");
  }

  function showLanes() {
    const now = Date.parse(lanes.now);
    text("queued", num(lanes.ready + lanes.waiting + lanes.held));
    text("queued-sub", num(lanes.ready) + " ready, " + num(lanes.waiting) + " waiting, " + num(lanes.held) + " held, " + num(lanes.active) + " being sent");
    const rows = lanes.lanes.map((l) => {
      const tr = document.createElement("tr");
      const cell = (s, cls, name) => {
        const td = document.createElement("td");
        td.textContent = s;
        td.className = cls + (s === "" || s === "0" ? " none" : "");
        if (name) td.dataset.name = name;
        tr.append(td);
      };
      cell(l.destination, "dest");
      cell(num(l.count), "n", "queued");
      cell(num(l.held), "n", "held");
      cell(num(l.active), "n", "sending");
      cell(ago(l.oldest, now), "when", "oldest");
      cell(until(l.next_due, now), "when", "next try");
      const r = l.last_reply;
      // What a stranger says must not turn the writing of what stands behind it.
      const said = r ? [r.code || "", r.enhanced || "", r.text].filter(Boolean).join(" ").replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd") : "";
      cell(said + (said && l.last_host && !said.includes(l.last_host) ? " (" + l.last_host + ")" : ""), "reply" + (r && r.code >= 500 ? " bad" : r && r.code >= 400 ? " warn" : ""));
      return tr;
    });
    $("lanes").tBodies[0].replaceChildren(...rows);
    $("lanes").hidden = rows.length === 0;
    const more = lanes.destinations - rows.length;
    const notes = [];
    if (rows.length === 0) notes.push("Nothing is queued" + (lanes.ready_sorted ? "." : " that could be sorted."));
    if (more > 0) notes.push("The " + num(rows.length) + " longest of " + num(lanes.destinations) + " destinations.");
    if (!lanes.ready_sorted) notes.push(num(lanes.ready) + " more are ready to go, too many to sort by destination.");
    text("queue-note", notes.join(" "));
  }

  // A row of cells: [text, class, name on a narrow screen].
  function row(cells) {
    const tr = document.createElement("tr");
    for (const [s, cls, name] of cells) {
      const td = document.createElement("td");
      td.textContent = s;
      td.className = (cls || "") + (s === "" || s === "0" ? " none" : "");
      if (name) td.dataset.name = name;
      tr.append(td);
    }
    return tr;
  }
  function list(id, lines) {
    $(id).replaceChildren(...lines.map((s) => { const li = document.createElement("li"); li.textContent = s; return li; }));
    $(id).hidden = lines.length === 0;
  }
  function from(r) { return r.to + (r.per ? " per " + r.per.join(",") : "") + " (" + r.layer + ")"; }

  function showLimits(l) {
    const now = Date.parse(l.now);
    list("suspensions", l.suspensions.map((s) => s.to + " is suspended" +
      (s.until ? " for another " + span((Date.parse(s.until) - now) / 1000) : "") +
      (s.author ? ", by " + s.author : "") + (s.at ? " " + ago(s.at, now) : "") + (s.reason ? ": " + s.reason : "")));
    $("live").tBodies[0].replaceChildren(...l.live.map((x) => {
      const whose = [x.source, x.tenant].filter(Boolean).join(" ");
      const full = x.waiting > 0;
      return row([
        [x.destination + (whose ? " · " + whose : ""), "dest"],
        [x.field.replace("_", " ") + " " + num(x.max) + (x.window ? "/" + x.window : ""), "when"],
        [num(x.used), "n", "used"], [num(x.in_flight), "n", "in flight"], [num(x.waiting), "n" + (full ? " full" : ""), "waiting"],
        [x.next ? until(x.next, now) : x.used + x.in_flight < x.max ? "room" : x.window ? "" : "when one closes", "when", "next release"],
        [from(x.from), "when", "from"],
      ]);
    }));
    $("live").hidden = l.live.length === 0;
    const notes = [l.rules.length + (l.rules.length === 1 ? " limit" : " limits") + ", version " + l.version + "."];
    if (l.live.length === 0) notes.push("None is in use just now.");
    if (l.total > l.live.length) notes.push("The " + num(l.live.length) + " busiest of " + num(l.total) + " counters.");
    text("limits-note", notes.join(" "));
    $("limits").hidden = l.rules.length + l.suspensions.length === 0;
  }

  function showNodes(v) {
    const now = Date.parse(v.now);
    $("nodes").hidden = !v.cluster;
    text("nodes-note", v.leader ? "Cluster " + v.cluster + ", led by " + v.leader + " in term " + v.term + "." : "Cluster " + v.cluster + " has no leader.");
    list("wrong", v.reasons);
    $("members").tBodies[0].replaceChildren(...v.nodes.map((x) => {
      const ss = x.sessions || [], r = x.raft || {};
      const sum = (key) => ss.length ? num(ss.reduce((n, s) => n + s[key], 0)) : "";
      const lease = ss.map((s) => (Date.parse(s.lease) > now ? span((Date.parse(s.lease) - now) / 1000) : "lapsed") + (s.draining ? ", leaving" : "")).join("; ");
      return row([
        [x.node + (x.here ? " (this one)" : ""), "dest"],
        [(x.roles || []).join(", "), "", "roles"],
        [x.error ? "unreachable: " + x.error : (r.state || "") + (r.state && !r.voter ? ", no vote" : ""), x.error ? "bad" : "", "state"],
        [ago(r.contact, now), "when", "heard of"],
        [lease, "when", "lease"],
        [sum("partitions"), "n", "partitions"], [sum("slots"), "n", "slots"],
        [x.connections === undefined ? "" : num(x.connections), "n", "connections"],
      ]);
    }));
    $("streams").tBodies[0].replaceChildren(...v.streams.map((x) => row([
      [x.stream, "dest"], [x.leader || "", "", "leader"], [num(x.messages), "n", "records"], [bytes(x.bytes), "when", "size"],
      [x.error || x.replicas.map((c) => c.node + (c.current ? "" : " lags" + (c.lag ? " by " + num(c.lag) : ""))).join(", "),
        x.error ? "bad" : x.replicas.some((c) => !c.current) ? "full" : "", "copies"],
    ])));
    $("streams").hidden = v.streams.length === 0;
  }

  async function ask(path) {
    const r = await fetch(path, { signal: AbortSignal.timeout(15000) });
    const v = await r.json();
    if (!r.ok) throw new Error(v.error || r.statusText);
    return v;
  }
  // What is shown already is old then.
  function trouble(id, e) { if (!$(id).hidden) text(id + "-note", "Not known just now: " + e.message); }
  let timer = 0, turns = 0;
  async function poll() {
    timer = 0; // a poll is under way
    const turn = turns++;
    if (!document.hidden || turn === 0) {
      try {
        status = await ask("/v1/status");
        sample(status);
        failures = 0;
        showStatus();
      } catch (e) { failures++; }
      if (turn % 2 === 0) {
        try {
          lanes = await ask("/v1/queue?max=50");
          showLanes();
        } catch (e) { text("queue-note", "The queue could not be listed: " + e.message); }
        // A node that knows of neither answers so; then there is nothing to show.
        try { showLimits(await ask("/v1/limits?max=30")); } catch (e) { trouble("limits", e); }
        try { showNodes(await ask("/v1/nodes")); } catch (e) { trouble("nodes", e); }
      }
      verdict();
    }
    timer = setTimeout(poll, 2000);
  }
  // A hidden page asks nothing; once it is looked at again it does not wait.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || timer === 0) return;
    clearTimeout(timer);
    timer = 0;
    turns = 0;
    poll();
  });
  poll();
})();
