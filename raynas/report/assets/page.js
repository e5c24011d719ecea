// The page of a search, a scoring run, a growth or a run that learns latencies.

function countsOfSearch() {
  const { evaluations, budget, different, pending, infeasible, failed, reused, duration: lasted, per_s: perSecond } = data.counts;
  const entries = [
    ["evaluations", budget && budget !== evaluations ? `${whole(evaluations)} of ${whole(budget)}` : whole(evaluations)],
    ["different architectures", different === evaluations ? null : whole(different)],
    ["not scored yet", pending ? whole(pending) : null],
    ["failed", whole(failed)],
    ["infeasible", infeasible ? whole(infeasible) : null],
    ["taken from other runs", reused ? whole(reused) : null],
    ["duration", lasted],
    ["evaluations a second", perSecond ? number(perSecond, 3) : null],
  ];
  if (data.objectives.length > 1) entries.unshift(["on the front", whole(data.front_size)]);
  else if (data.objectives.length && data.rankings.length) {
    const { name } = data.objectives[0];
    entries.unshift([`best ${name}`, shownValue(name, columns.get(name).values[data.rankings[0].members[0]])]);
  }
  return entries;
}

showHead(data.facts || countsOfSearch());
if (data.growth) showGrowth();
if (data.prediction) showPrediction();
showArchitectures();
showComparison();
showNext();
showDecisions();
showScatter();
showParallel();
showProgress();
showPolicy();
showFailures();
showCorrelation();
showTime();
showSetup();
showNavigation();
