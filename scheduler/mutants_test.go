package scheduler

// mutants are the broken variants by name, with the mix of faults that aims at them and
// a run that catches each.
var mutants = map[string]mutant{
	"NoTail":           {noTail, "storm", 0, 1},
	"NoShortWait":      {noShortWait, "storm", 12, 1},
	"GrantUncommitted": {grantUncommitted, "elections", 0, 1},
	"RecvLease":        {recvLease, "lags", 3, 2},
	"NoExpiry":         {noExpiry, "storm", 0, 1},
	"NoNotBefore":      {noNotBefore, "storm", 0, 1},
	"DupReturn":        {dupReturn, "storm", 0, 1},
	"WallClock":        {wallClock, "storm", 0, 1},
	"ReleaseAtGrant":   {releaseAtGrant, "storm", 0, 1},
	"NoDrift":          {noDrift, "storm", 1, 1},
	"OpenForever":      {openForever, "elections", 10, 2},
	"ClockMax":         {clockMax, "restarts", 0, 1},
	"NoMax":            {noMax, "freezes", 13, 1},
	"NoFence":          {noFence, "freezes", 11, 2},
	"NoFenceNoMax":     {noFenceNoMax, "freezes", 2, 1},
	"SlotsAtOnce":      {slotsAtOnce, "storm", 0, 1},
	"SlotRecvLease":    {slotRecvLease, "cuts", 0, 1},
	"ForceEarly":       {forceEarly, "cuts", 5, 1},
	"LostHistory":      {lostHistory, "storm", 1, 1},
	"PartsAtOnce":      {partsAtOnce, "storm", 0, 1},
	"NoProof":          {noProof, "thaws", 13, 2},
	"DeadAlive":        {deadAlive, "storm", 0, 1},
	"NoReserve":        {noReserve, "crowds", 0, 1},
}

type mutant struct {
	broken        mutation
	mix           string
	seed, minutes int64 // of the run
}
