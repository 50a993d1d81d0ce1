#pragma once
// The preconditions of lifecycle §4 that apply checks, each with a switch. All are on in production; a test that
// switches one off must see an invariant broken, else the invariant's checker does not look (lifecycle §8.5).

namespace kraken::metadata::state {

struct Rules {
  bool commit_needs_mark = true;
  bool commit_needs_generation = true;
  bool enter_needs_generation = true;
  bool leave_renews_generation = true;
  bool generation_never_repeats = true;  // off: a new row's generation starts again at 1
  bool leave_keeps_last_holder = true;
  bool arrive_revives = true;
  bool add_ref_needs_record = true;
  bool add_ref_revives = true;
  bool marks_hold_off_condemn = true;
  bool refs_hold_off_condemn = true;
  bool second_grace = true;  // Delete waits
  bool renew_revives = true;
  bool put_refuses_old_push = true;
  bool remove_ref_names_push = true;  // off: any push's reference of that manifest goes
  bool delete_adds_remove_tasks = true;
  bool retag_needs_row = true;
};

}  // namespace kraken::metadata::state
