# Writes OUT, a header with the project's version and git commit; only if changed.
# Where there is no repository (a container build, an archive) the variable GIT_COMMIT of the
# environment may name the commit.
execute_process(COMMAND git -C ${SOURCE} rev-parse --short=12 HEAD
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  string(REGEX MATCH "^[0-9a-f]+$" commit "$ENV{GIT_COMMIT}")
  string(SUBSTRING "${commit}" 0 12 commit)
  if(commit STREQUAL "")
    set(commit "no git commit")
  endif()
else()
  execute_process(COMMAND git -C ${SOURCE} status --porcelain --untracked-files=no
    OUTPUT_VARIABLE changes ERROR_QUIET)
  if(changes)
    string(APPEND commit ", changed")
  endif()
endif()
set(text "#ifndef VERSION_GENERATED_H\n#define VERSION_GENERATED_H\n\n#define PROJECT_VERSION_TEXT \"${VERSION}\"\n#define PROJECT_GIT_COMMIT \"${commit}\"\n\n#endif\n")
if(EXISTS ${OUT})
  file(READ ${OUT} before)
endif()
if(NOT "${before}" STREQUAL "${text}")
  file(WRITE ${OUT} "${text}")
endif()
