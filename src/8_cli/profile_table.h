/* profile_table.h: a profile as tables on stdout. */
#ifndef PT_CLI_PROFILE_TABLE_H
#define PT_CLI_PROFILE_TABLE_H

#include "6_run/profile_report.h"

void pt_print_profile(const pt_profile_report *report);

#endif
